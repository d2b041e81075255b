"""What a text edit costs apart from encoding the text, on one CPU core: `python -m benchmarks.text` in the root.

The tokens are a ViT-H's: 257 of 1024. A local edit is all that its node does for one reference: correlations, automatic
thresholds, weights, the change. The time is that of the core, whatever else it does meanwhile.
"""

import statistics
import time

import torch
import torch.nn.functional as F

from colorize_core import manipulation

TURNS, WARM_UP = 100, 10
TOKENS, WIDTH = 256, 1024


def milliseconds(run) -> float:
    times = []
    for _ in range(WARM_UP + TURNS):
        start = time.process_time()
        run()
        times.append((time.process_time() - start) * 1000)
    return statistics.median(times[WARM_UP:])


@torch.inference_mode()
def main():
    torch.set_num_threads(1)
    cls, local = torch.randn(1, TOKENS + 1, WIDTH).split([1, TOKENS], dim=1)
    target, anchor, control = F.normalize(torch.randn(3, WIDTH), dim=1)
    edits = {
        "global": lambda: manipulation.manipulate_global(cls, target, anchor, enhance=True),
        "local": lambda: manipulation.local_edit(cls, local, target, anchor, control, enhance=True, thresholds=None),
    }
    for name, edit in edits.items():
        print(f"{name:6} {milliseconds(edit):6.2f} ms")


if __name__ == "__main__":
    main()
