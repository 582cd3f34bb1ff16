"""state: a board as bytes and back, exactly

Rules are remembered by id and series by id, so that a snapshot outlives a change of the rules: what the rules no longer
know ends with one last transition.
"""

from __future__ import annotations

import msgspec
import numpy as np

from alerts import dress
from alerts.board import Board
from alerts.dress import RuleMark
from alerts.lifecycle import Layer, Track
from alerts.rules import Source
from pulssi.errors import PoisonError, Reason
from pulssi.frames import IndicatorKind, Indicators
from pulssi.messages import AlertState, AlertTransition

_VERSION = 1


class _SavedLayer(msgspec.Struct, array_like=True):
    source: tuple[int, int, str, float, int]
    newest: bytes
    tracks: list[tuple[int, int, Track]]  # rule number, series number


class _SavedSilence(msgspec.Struct, array_like=True):
    rule: int
    devices: list[str]
    heard: bytes
    open: bytes


class _Saved(msgspec.Struct, array_like=True):
    version: int
    clock: int
    series: bytes
    rules: list[RuleMark]
    layers: list[_SavedLayer]
    silences: list[_SavedSilence]
    waiting: bytes
    withdrawn: list[AlertTransition]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Saved)


def save(board: Board) -> bytes:
    """The whole state."""
    return _encoder.encode(
        _Saved(
            version=_VERSION,
            clock=board.clock,
            series=np.array([info.series_id for info in board.series.infos], np.int64).tobytes(),
            rules=[RuleMark.of(rule) for rule in board.rules],
            layers=[
                _SavedLayer(
                    source=(int(source.kind), *source[1:]),
                    newest=layer.newest.tobytes(),
                    tracks=[(rule, series, track) for (rule, series), track in layer.tracks.items()],
                )
                for source, layer in board.layers.items()
            ],
            silences=[
                _SavedSilence(one.rule, list(one.devices), one.heard.tobytes(), one.open.tobytes())
                for one in board.silences
            ],
            waiting=board.waiting.encode() if len(board.waiting) else b"",
            withdrawn=board.withdrawn,
        )
    )


def restore(board: Board, snapshot: bytes, decided: int) -> None:
    """Bring a new board to a saved state.

    Args:
        board: new, with the rules of today; its lookup describes every series that was described before.
        snapshot: from `save`.
        decided: time for the ends of alerts whose rules are gone, us.

    Raises:
        PoisonError: the snapshot cannot be read.
    """
    try:
        saved = _decoder.decode(snapshot)
    except msgspec.MsgspecError as error:
        raise PoisonError(Reason.BAD_RECORD, f"alerts snapshot: {error}") from error
    if saved.version != _VERSION:
        raise PoisonError(Reason.BAD_RECORD, f"alerts snapshot of version {saved.version}")
    ids = np.frombuffer(saved.series, np.int64)
    board.register([info for info in (board.lookup(int(one)) for one in ids) if info is not None])
    numbers = board.series.find(ids)
    board.clock = saved.clock
    board.waiting = Indicators.decode(saved.waiting) if saved.waiting else Indicators.empty()
    board.withdrawn = list(saved.withdrawn)
    for layer in saved.layers:
        _restore_layer(board, saved, layer, numbers, decided)
    for silence in saved.silences:
        _restore_silence(board, saved.rules[silence.rule], silence, decided)


def _restore_layer(board: Board, saved: _Saved, old: _SavedLayer, numbers: np.ndarray, decided: int) -> None:
    kind, window_s, column, completeness_min, excluded = old.source
    layer = board.layers.get(Source(IndicatorKind(kind), window_s, column, completeness_min, excluded))
    known = numbers >= 0
    if layer is not None:
        layer.newest[numbers[known]] = np.frombuffer(old.newest, np.int64)[known]
    for rule, series, track in old.tracks:
        mark, number = saved.rules[rule], int(numbers[series])
        if number >= 0 and not _take_up(board, layer, mark, number, track) and track.state is not None:
            info = board.series.infos[number]
            board.withdrawn.append(dress.of_withdrawn(mark, str(info.series_id), info, track, decided))


def _take_up(board: Board, layer: Layer | None, mark: RuleMark, number: int, track: Track) -> bool:
    """Whether a rule of today goes on with the track."""
    if layer is None:
        return False
    rule = next((rule for rule in layer.rules[number] if board.rules[rule].id == mark.id), None)
    if rule is None:
        return False
    layer.tracks[rule, number] = track
    if track.state is not None:
        layer.busy[number] = True
        board.room.open += 1
    return True


def _restore_silence(board: Board, mark: RuleMark, old: _SavedSilence, decided: int) -> None:
    heard, open_ = np.frombuffer(old.heard, np.int64), np.frombuffer(old.open, bool)
    today = next((one for one in board.silences if board.rules[one.rule].id == mark.id), None)
    for device, last, silent in zip(old.devices, heard.tolist(), open_.tolist(), strict=True):
        number = today.devices.get(device) if today is not None else None
        if today is not None and number is not None:
            today.heard[number], today.open[number] = last, silent
            board.room.open += silent
        elif silent and device in board.devices:
            track = Track(state=AlertState.FIRING, onset=last, sequence=1, fired=True)
            board.withdrawn.append(dress.of_withdrawn(mark, device, board.devices[device], track, decided))
    if today is not None:
        today.due = 0  # looked at anew with the next clock
