"""How good are results? Measures of pictures against the truth, the reference and the sketch.

Pictures are [B,3,H,W] in 0..1 (sRGB), sketches [B,H,W] in 0..1 with lines 1 on paper 0, region maps [B,H,W] integers.
A measure gives one number per picture, [B]; FID and KID compare two sets and give one number for all.
torchmetrics is imported where it is needed, since that takes seconds.
"""

import warnings

import torch
import torch.nn.functional as F
from torchvision.transforms.functional import gaussian_blur

LEAST_PIXELS = 40  # the color of a smaller region is mostly that of its outline
EDGE_CONTRAST = 0.2  # a difference between neighbors, in 0..1, that is an edge and no shading
PALETTE_DIRECTIONS, PALETTE_LEVELS = 16, 65  # of colors, and quantiles along each
EDGE_BLUR = 1.0  # pixels: the slack that lines have

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, finest first (Wang et al. 2003)
MS_SSIM_WINDOW = 11  # pixels
KID_SUBSET, KID_SUBSETS = 1000, 100  # pictures in each, and how many are drawn


def line_fidelity(result: torch.Tensor, sketch: torch.Tensor) -> torch.Tensor:
    """How well the edges of a `result` are the lines of its `sketch`: 1 is all of them and no others, 0 is chance. [B]

    Pearson's correlation of two edge maps, made alike from the sketch s and the result r:

        E(x) = gaussian(min(1, max_c (max_3x3 x_c - min_3x3 x_c) / 0.2)),    fidelity = corr(E(r), E(s)).

    Contrast counts up to 0.2 only, so giving a flat region another color changes nothing as long as its lines can be
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
    """How far the colors of a `result`'s regions are from those of the `other` picture, in 255ths. [B]

    The color of a region is its median in sRGB, which lines and blurred borders hardly move; the distance of two
    colors is the mean absolute difference of their channels; the error is the mean over the regions that both pictures
    show, whatever their sizes. `other` is the truth, on the same `regions`, or a reference [B,3,h,w] with
    `other_regions` [B,h,w] of its own in the same labels. Negative labels are no region, and regions of fewer than
    `least_pixels` do not count.
    NaN where no region is left.
    """
    other_regions = regions if other_regions is None else other_regions
    errors = []
    for picture, picture_map, target, target_map in zip(result, regions, other, other_regions, strict=True):
        colors = region_colors(picture, picture_map, least_pixels)
        targets = region_colors(target, target_map, least_pixels)
        distances = [(colors[label] - targets[label]).abs().mean() for label in colors.keys() & targets.keys()]
        errors.append(255 * torch.stack(distances).mean() if distances else result.new_tensor(torch.nan))
    return torch.stack(errors)


def region_colors(
    picture: torch.Tensor, regions: torch.Tensor, least_pixels: int = LEAST_PIXELS
) -> dict[int, torch.Tensor]:
    """The median color [3] of each region of one picture [3,H,W] by its label in `regions` [H,W].

    Negative labels, and labels on fewer than `least_pixels`, are left out.
    """
    labels, counts = regions.unique(return_counts=True)
    large = labels[(labels >= 0) & (counts >= least_pixels)]
    return {label: picture[:, regions == label].median(dim=1).values for label in large.tolist()}


def palette_error(result: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """How far the colors of a `result` are from those of its `reference` [B,3,h,w], wherever they stand, in 255ths. [B]

    The sliced Wasserstein distance of the two sets of colors: the mean over fixed directions of the difference of the
    sorted colors along each (Bonneel et al. 2015, equation 5).
    """
    levels = torch.linspace(0, 1, PALETTE_LEVELS, device=result.device)
    index = torch.arange(PALETTE_DIRECTIONS, device=result.device) + 0.5
    height, turn = 1 - 2 * index / PALETTE_DIRECTIONS, index * torch.pi * (1 + 5**0.5)
    radius = (1 - height.square()).sqrt()
    directions = torch.stack([radius * turn.cos(), radius * turn.sin(), height])  # evenly over the sphere
    along = [(picture.flatten(2).mT @ directions).quantile(levels, dim=1) for picture in (result, reference)]
    return 255 * (along[0] - along[1]).abs().mean(dim=(0, 2))


def psnr(result: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio in dB, 10 log10(1 / mean squared error): infinite for equal pictures. [B]"""
    return -10 * (result - truth).square().mean(dim=(1, 2, 3)).log10()


def ms_ssim(result: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Multi-scale structural similarity, 0..1; 1 for equal pictures. [B]

    On all five scales from sides of 176 pixels. A smaller picture gets the finest `ms_ssim_scales`, with weights that
    sum to 1 again: such numbers compare only with those of pictures of like size. Raises ValueError below 11 pixels.
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    weights = MS_SSIM_WEIGHTS[: ms_ssim_scales(*result.shape[-2:])]
    if not weights:
        size = f"{result.shape[-1]}x{result.shape[-2]}"
        raise ValueError(f"result: is {size}; MS-SSIM needs sides of {MS_SSIM_WINDOW} pixels or more.")
    weights = tuple(weight / sum(weights) for weight in weights)
    return multiscale_structural_similarity_index_measure(
        result, truth, kernel_size=MS_SSIM_WINDOW, data_range=1.0, betas=weights, reduction="none"
    )


def ms_ssim_scales(height: int, width: int) -> int:
    """How many of the five scales, each half the one before, a picture is large enough for: window and all."""
    reductions = (max(2**n, n**2) for n in range(len(MS_SSIM_WEIGHTS)))  # n**2 is torchmetrics' own demand
    return sum(min(height, width) // reduction >= MS_SSIM_WINDOW for reduction in reductions)


def fid(real: torch.Tensor, made: torch.Tensor) -> float:
    """Frechet distance of two sets' Inception features [N,D] and [M,D], at least two of each; 0 for equal sets.

    |mean difference|^2 + trace(C_r + C_m - 2 sqrt(C_r C_m)), C the covariances (Heusel et al., arXiv 1706.08500). With
    fewer pictures than D it is biased upwards: compare only sets of one size.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    return float(_compared(FrechetInceptionDistance(feature=_identity(real)), real, made))


def kid(real: torch.Tensor, made: torch.Tensor) -> float:
    """Kernel distance of two sets' Inception features [N,D] and [M,D], at least two of each; about 0 for like sets.

    The unbiased estimate of the squared maximum mean discrepancy with the kernel (x.y / D + 1)^3 (Binkowski et al.,
    arXiv 1801.01401), so it may be a little negative; of all at once, or the mean over subsets where there are more
    than 1000 or the sets differ in size.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(len(real), len(made), KID_SUBSET)
    subsets = 1 if size == len(real) == len(made) else KID_SUBSETS
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", message="Metric `Kernel")  # that it keeps all features in memory
        torch.manual_seed(0)
        mean, _ = _compared(KernelInceptionDistance(_identity(real), subsets=subsets, subset_size=size), real, made)
    return float(mean)


def _identity(features: torch.Tensor) -> torch.nn.Module:
    """In the place of torchmetrics' own network, for features that are known already."""
    module = torch.nn.Identity()
    module.num_features = features.shape[1]
    return module


def _compared(metric, real: torch.Tensor, made: torch.Tensor):
    metric.update(real.cpu(), real=True)
    metric.update(made.cpu(), real=False)
    return metric.compute()
