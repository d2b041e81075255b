"""How good are results? Measures of pictures against the truth, the reference and the sketch.

Pictures are [B,3,H,W] in 0..1 (sRGB), sketches [B,H,W] in 0..1 with lines 1 on paper 0, region maps [B,H,W] integers.
Each measure gives one number per picture, [B].
"""

import torch
import torch.nn.functional as F
from torchvision.transforms.functional import gaussian_blur

LEAST_PIXELS = 40  # the colour of a smaller region is mostly that of its outline
EDGE_CONTRAST = 0.2  # a difference between neighbours, in 0..1, that is an edge and no shading
EDGE_BLUR = 1.0  # pixels: the slack that lines have


def line_fidelity(result: torch.Tensor, sketch: torch.Tensor) -> torch.Tensor:
    """How well the edges of a `result` are the lines of its `sketch`: 1 is all of them and no others, 0 is chance. [B]

    Pearson's correlation of two edge maps, made alike from the sketch s and the result r:

        E(x) = gaussian(min(1, max_c (max_3x3 x_c - min_3x3 x_c) / 0.2)),    fidelity = corr(E(r), E(s)).

    Contrast counts up to 0.2 only, so giving a flat region another colour changes nothing as long as its lines can be
    seen, and shading counts little. Lines that are lost lower the number, and so do edges that the sketch has not (a
    reference's objects, say); unlike an F-score of edges, a correlation does not rise with the amount of ink.
    The Gaussian of one pixel forgives lines that are a little blurred or a little off.
    A result without an edge has 0. Raises ValueError for a sketch without a line.
    """
    lines, edges = _edges(sketch[:, None]), _edges(result)
    if (blank := (sketch.flatten(1).amax(1) == sketch.flatten(1).amin(1))).any():
        raise ValueError(f"sketch: there is no line in number {blank.nonzero()[0].item()} of the batch. Leave it out.")
    lines, edges = (x - x.mean(dim=1, keepdim=True) for x in (lines, edges))
    return F.cosine_similarity(lines, edges, dim=1)


def _edges(picture: torch.Tensor) -> torch.Tensor:
    """How much of an edge each pixel is, 0..1: [B,C,H,W] -> [B,H*W]."""
    contrast = F.max_pool2d(picture, 3, 1, 1) + F.max_pool2d(-picture, 3, 1, 1)
    edges = (contrast.amax(dim=1, keepdim=True) / EDGE_CONTRAST).clamp(max=1)
    return gaussian_blur(edges, kernel_size=7, sigma=EDGE_BLUR).flatten(1)


def region_color_error(
    result: torch.Tensor,
    other: torch.Tensor,
    regions: torch.Tensor,
    other_regions: torch.Tensor | None = None,
    least_pixels: int = LEAST_PIXELS,
) -> torch.Tensor:
    """How far the colours of a `result`'s regions are from those of the `other` picture, in 255ths. [B]

    The colour of a region is its median in sRGB, which lines and blurred borders hardly move; the distance of two
    colours is the mean absolute difference of their channels; the error is the mean over the regions that both pictures
    show, whatever their sizes. `other` is the truth, on the same `regions`, or a reference [B,3,h,w] with
    `other_regions` [B,h,w] of its own in the same labels. Negative labels are no region, and regions of fewer than
    `least_pixels` do not count.
    NaN where no region is left.
    """
    other_regions = regions if other_regions is None else other_regions
    errors = []
    for picture, picture_map, target, target_map in zip(result, regions, other, other_regions, strict=True):
        colors, targets = (
            region_colors(picture, picture_map, least_pixels),
            region_colors(target, target_map, least_pixels),
        )
        distances = [(colors[label] - targets[label]).abs().mean() for label in colors.keys() & targets.keys()]
        errors.append(255 * torch.stack(distances).mean() if distances else result.new_tensor(torch.nan))
    return torch.stack(errors)


def region_colors(
    picture: torch.Tensor, regions: torch.Tensor, least_pixels: int = LEAST_PIXELS
) -> dict[int, torch.Tensor]:
    """The median colour [3] of each region of one picture [3,H,W] by its label in `regions` [H,W].

    Negative labels, and labels on fewer than `least_pixels`, are left out.
    """
    labels, counts = regions.unique(return_counts=True)
    large = labels[(labels >= 0) & (counts >= least_pixels)]
    return {label: picture[:, regions == label].median(dim=1).values for label in large.tolist()}
