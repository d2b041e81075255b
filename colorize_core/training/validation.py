"""Pictures that are held out of a training, to see how it does on what it has not seen."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ValidationSettings:
    """Which pictures are held out: a `share` of them, of which `count` at most are measured at each save.

    Raises ValueError for numbers out of range.
    """

    share: float = 0.02
    count: int = 32

    def __post_init__(self):
        if not 0 <= self.share < 1:
            raise ValueError(f"share: is {self.share}; allowed is 0 (none) or more, below 1.")
        if self.count < 1:
            raise ValueError(f"count: is {self.count}; allowed is 1 or more.")
