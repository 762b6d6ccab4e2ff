"""Memory that is freed: kept for the next tensor in a block, given back at its end."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import numpy as np
from dprkit.memory import keeping_freed, status_bytes

def held_after_freeing():
    arrays = [np.ones(10_000_000) for _ in range(4)]  # 320 MB
    del arrays
    return (status_bytes("RssAnon") - before) >> 20

before = status_bytes("RssAnon")
with keeping_freed():
    print(held_after_freeing())
print((status_bytes("RssAnon") - before) >> 20)
"""


def test_freed_memory_is_kept_in_the_block_and_given_back_at_its_end():
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    kept, after = map(int, ran.stdout.split())
    assert kept > 250
    assert after < 30
