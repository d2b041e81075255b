"""Networks that make numbers of pictures, for measures: Inception's features and CLIP's tokens."""

from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import torch

Encode = Callable[[torch.Tensor], torch.Tensor]  # pictures [B,3,H,W] in 0..1 to what a network makes of them [B,D]

INCEPTION_WIDTH = 2048  # of Inception's last layer


def load_inception(weights: Path | None = None) -> Encode:
    """Inception v3 as FID and KID take it: pictures to features [B,2048].

    Its weights come from a file, or are downloaded by torch-fidelity and kept in PyTorch's cache. Raises ValueError if
    the package, the file or the connection is missing.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
        from torchmetrics.image.fid import NoTrainInceptionV3
    except ImportError as error:
        raise ValueError(f"--fid, --kid: {error}: pip install torch-fidelity torchmetrics") from error
    get_it = f"Download {URL_INCEPTION_V3} and give it with --inception FILE."
    if weights and not weights.is_file():
        raise ValueError(f"--inception: there is no file {weights}. {get_it}")
    try:
        if weights:
            torch.load(weights, weights_only=True)  # torch-fidelity would run whatever a pickle says
        network = NoTrainInceptionV3("inception-v3-compat", [str(INCEPTION_WIDTH)], weights and str(weights))
    except URLError as error:
        raise ValueError(
            f"--fid, --kid: Inception's weights cannot be downloaded ({error.reason}). {get_it}"
        ) from error
    except Exception as error:  # PyTorch raises whatever comes
        if not weights:
            raise ValueError(
                f"--fid, --kid: Inception's weights did not arrive whole ({error}). Delete what there is of them in "
                f"{torch.hub.get_dir()} and try again. Or: {get_it}"
            ) from error
        raise ValueError(f"--inception: {weights} does not hold torch-fidelity's Inception v3. {get_it}") from error
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    network.to(device)
    return lambda picture: network((picture * 255).round().byte().to(device)).cpu()


def load_clip_encoder(file: Path) -> Encode:
    """The image encoder of a CLIP file: pictures to CLS tokens [B,D], as the nodes encode a reference.

    Raises ValueError if the file is no CLIP with an image encoder.
    """
    from ..host.clip import MissingTower, encode_reference, load_clip

    if not file.is_file():
        raise ValueError(f"--clip: there is no file {file}.")
    clip_vision, _ = load_clip(str(file))
    if isinstance(clip_vision, MissingTower):
        raise ValueError(f"--clip: {file.name} has no image encoder. Give a whole CLIP file.")
    return lambda picture: encode_reference(clip_vision, picture.movedim(1, -1)).cls[:, 0]
