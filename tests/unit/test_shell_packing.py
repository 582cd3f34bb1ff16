"""What our producer sends is packed with fast lz4 that every Kafka client can read."""

import cramjam
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from pulssi.shell import packing


def build(value: bytes) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=3,
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 20,
    )
    builder.append(0, timestamp=1, key=None, value=value, headers=[])
    return bytes(builder.build())


def test_the_builder_that_aiokafka_uses_packs_with_ours(monkeypatch):
    seen = []
    monkeypatch.setattr(packing, "pack", lambda payload: seen.append(len(payload)) or b"packed")
    packing.use_fast_lz4()
    assert build(bytes(10_000)).endswith(b"packed")
    assert seen[0] > 10_000
    monkeypatch.undo()
    packing.use_fast_lz4()


@pytest.mark.parametrize("size", [0, 1, 100, 1 << 16, 3 << 20])
def test_a_packed_frame_reads_back_without_linked_blocks(size):
    payload = bytes(range(256)) * (size // 256 + 1)
    packed = packing.pack(payload)
    assert bytes(cramjam.lz4.decompress(packed)) == payload
    assert packed[4] & 0x20  # the flag "blocks are independent"
