"""Cycles are still found after what is loaded was left out of the search."""

import gc
import subprocess
import sys


def test_what_is_loaded_is_left_out_and_new_cycles_are_found():
    code = """
import gc, weakref
from pulssi import garbage
class Node: pass
old = Node(); old.me = old
garbage.settle()
assert gc.get_freeze_count() > 1000
assert old not in gc.get_objects() and Node not in gc.get_objects()
new = Node(); new.me = new
seen = weakref.ref(new)
del new
kept = [[] for _ in range(120_000)]
assert seen() is None, "no collection of young objects"
"""
    assert gc.isenabled()
    subprocess.run([sys.executable, "-c", code], check=True)
