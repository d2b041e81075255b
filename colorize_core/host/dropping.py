"""Rows whose reference is dropped need no cross-attention: of zero tokens nothing but its output's bias is left."""

import itertools
from dataclasses import dataclass

import comfy.conds
import torch

from .feature import Feature, UNetPass
from .reference import in_use

DROPPED_ROWS = "dropped_rows"
ROWS = "colorize_rows"  # key of transformer_options within a pass: its Rows


class CONDRows(comfy.conds.CONDConstant):
    """A flag for each row, known without asking the device. Of conditions that share a batch they are joined."""

    def process_cond(self, batch_size, **kwargs):
        return self._copy_with(tuple(itertools.islice(itertools.cycle(self.cond), batch_size)))

    def can_concat(self, other):
        return isinstance(other, CONDRows)

    def concat(self, others):
        return sum((other.cond for other in others), self.cond)


@dataclass(frozen=True)
class Rows:
    """The rows of a batch in runs: (is dropped, first, behind the last)."""

    runs: tuple[tuple[bool, int, int], ...]

    @property
    def are_all_dropped(self) -> bool:
        return all(dropped for dropped, _, _ in self.runs)

    def in_use(self, batch: torch.Tensor) -> torch.Tensor:
        """Those rows of `batch` that have a reference."""
        parts = [batch[start:stop] for dropped, start, stop in self.runs if not dropped]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def filled(self, used: torch.Tensor, nothing: torch.Tensor) -> torch.Tensor:
        """The whole batch [B,N,C]: the rows in use are `used`, the dropped ones `nothing` [1,1,C]."""
        parts, taken = [], 0
        for dropped, start, stop in self.runs:
            count = stop - start
            parts.append(nothing.expand(count, used.shape[1], -1) if dropped else used[taken : taken + count])
            taken += 0 if dropped else count
        return torch.cat(parts)


def conds(model, cond: dict) -> dict:
    return {DROPPED_ROWS: CONDRows(tuple((~in_use(cond["cross_attn"])).tolist()))}


def options(unet_pass: UNetPass, options: dict) -> dict:
    """Left as it is where another pack changes the cross-attentions: its tokens may be there for dropped rows too; and
    where it has made other rows of the batch, such as tiles."""
    flags = unet_pass.keywords.pop(DROPPED_ROWS, ())
    if not any(flags) or options.get("patches", {}).get("attn2_patch"):
        return options
    if len(flags) != len(unet_pass.keywords["context"]):
        return options
    groups = itertools.groupby(enumerate(flags), key=lambda row: row[1])
    numbers = [(dropped, [row for row, _ in group]) for dropped, group in groups]
    return options | {ROWS: Rows(tuple((dropped, rows[0], rows[-1] + 1) for dropped, rows in numbers))}


FEATURE = Feature(conds=conds, options=options)
