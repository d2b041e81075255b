"""A checkpoint file becomes the host's MODEL and VAE."""

from pathlib import Path

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.utils
import torch
from comfy.ldm.models.autoencoder import AutoencoderKL

from .. import versions
from ..checkpoint.autoencoder import PUBLISHED_AUTOENCODER, detect_autoencoder
from ..checkpoint.config import Config
from ..checkpoint.keys import UNET_PREFIX, VAE_PREFIX
from ..finite import is_finite
from .files import read_state_dict
from .versions import host_config


class MissingVAE(comfy.sd.VAE):
    """The VAE of a file that holds none: it says so once it is used."""

    def __init__(self, name: str):
        super().__init__(sd={})
        self.name = name

    def get_sd(self):
        self.throw_exception_if_invalid()

    def throw_exception_if_invalid(self):
        raise ValueError(
            f"{self.name} holds no VAE ({VAE_PREFIX}*): connect one from Load VAE; "
            "that of Stable Diffusion 1 or 2 fits, for XL that of SDXL."
        )


def load_checkpoint(path: str, prediction: str = "auto", token_type: str = "attention"):
    """(MODEL, VAE) of a checkpoint file.

    `prediction` is `eps`, `v` or `auto` (`versions` has the rule), `token_type` `attention` or `cls`. ValueError names
    the file and says what is wrong with it.
    """
    state_dict, metadata = read_state_dict(path)
    name = Path(path).name
    patcher = model_of(state_dict, metadata, name, prediction, token_type)
    patcher.cached_patcher_init = (load_patcher, (path, prediction, token_type))
    vae = build_vae(state_dict, name)
    if not isinstance(vae, MissingVAE):
        vae.patcher.cached_patcher_init = (load_vae_patcher, (path,))
    return patcher, vae


def load_patcher(path: str, prediction: str = "auto", token_type: str = "attention", disable_dynamic: bool = False):
    """The MODEL alone, afresh: the host asks for it to compile, train or run on another device."""
    state_dict, metadata = read_state_dict(path)
    return model_of(state_dict, metadata, Path(path).name, prediction, token_type, disable_dynamic)


def load_vae_patcher(path: str, disable_dynamic: bool = False):
    """The VAE's patcher alone, afresh; the host's VAE class knows no other kind of patcher."""
    return build_vae(read_state_dict(path)[0], Path(path).name).patcher


def model_of(state_dict, metadata, name, prediction="auto", token_type="attention", disable_dynamic=False):
    """The MODEL of a file's contents; `state_dict` loses the model's weights: nothing is held twice."""
    state_dict, metadata = comfy.utils.convert_old_quants(state_dict, UNET_PREFIX, metadata)
    config = versions.detect(state_dict, name, metadata, prediction, token_type)
    return build_patcher(config, state_dict, name, disable_dynamic)


def build_patcher(config: Config, state_dict: dict, name: str, disable_dynamic: bool = False):
    """A MODEL of that shape with the weights of `state_dict` in published keys, which loses them.

    ValueError, naming the file, where weights are missing or of another shape.
    """
    management, prefix = comfy.model_management, UNET_PREFIX
    host = host_config(config)
    channels = host.latent_format.latent_channels
    if (config.unet.in_channels, config.unet.out_channels) != (channels, channels):
        raise ValueError(
            f"{name}: its denoiser takes {config.unet.in_channels} channels and gives {config.unet.out_channels} where "
            f"a latent has {channels} (a model for inpainting?): choose a ColorizeDiffusion file."
        )
    host.quant_config = comfy.utils.detect_layer_quantization(state_dict, prefix)

    parameters = comfy.utils.calculate_parameters(state_dict, prefix)
    quantized = host.quant_config is not None  # layer by layer: the types of the weights say nothing then
    weight_dtype = None if quantized else comfy.utils.weight_dtype(state_dict, prefix)
    dtypes = host.supported_inference_dtypes
    dtype = management.unet_dtype(model_params=parameters, supported_dtypes=dtypes, weight_dtype=weight_dtype)
    load_device, offload_device = management.get_torch_device(), management.unet_offload_device()
    cast_dtype = management.unet_manual_cast(None if quantized else dtype, load_device, dtypes)
    host.set_inference_dtype(dtype, cast_dtype, device=load_device)

    device = management.unet_inital_load_device(parameters, dtype)
    model = host.get_model(state_dict, prefix, device=device)
    require_weights(model.diffusion_model, state_dict, prefix, name, quantized)
    patcher_class = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    patcher = patcher_class(model, load_device=load_device, offload_device=offload_device)
    model.load_model_weights(state_dict, prefix, assign=patcher.is_dynamic())
    if device != torch.device("cpu"):  # it lies on the GPU already: the host must know, to make room for others
        management.load_models_gpu([patcher], force_full_load=True)
    return patcher


def require_weights(network, state_dict, prefix, name, quantized=False):
    """ValueError unless the file has all weights of the network, before they are loaded into it, in their shapes.

    The host would run with whatever memory held. They must be floats, but where the host itself knows them `quantized`.
    """
    shapes = weight_shapes(network)
    missing = [key for key in shapes if prefix + key not in state_dict]
    if missing:
        raise ValueError(
            f"{name} lacks {len(missing)} of the {len(shapes)} weights, {prefix + missing[0]} the first: "
            "the file is incomplete, download it again."
        )
    for key, shape in shapes.items():
        if state_dict[prefix + key].shape != shape:
            raise ValueError(
                f"{name}: {prefix + key} has the shape {list(state_dict[prefix + key].shape)} where that of the other "
                f"weights asks for {list(shape)}: the file is damaged or was put together wrongly, get another."
            )
        if not quantized and not state_dict[prefix + key].is_floating_point():
            raise ValueError(
                f"{name}: {prefix + key} is of the type {state_dict[prefix + key].dtype}, of which the host knows no "
                "model: get the file in float16 or float32."
            )


def weight_shapes(network) -> dict:
    """Key and shape of each weight. The host's Linear may have none of its own until it is loaded."""
    shapes = {key: parameter.shape for key, parameter in network.named_parameters()}
    for layer, module in network.named_modules():
        if hasattr(module, "in_features"):
            shapes[f"{layer}.weight"] = module.out_features, module.in_features
            if getattr(module, "comfy_need_lazy_init_bias", False):
                shapes[f"{layer}.bias"] = (module.out_features,)
    return shapes


def build_vae(state_dict, name):
    """The VAE of a checkpoint, or one that says there is none."""
    prefix = VAE_PREFIX
    weights = comfy.utils.state_dict_prefix_replace(state_dict, {prefix: ""}, filter_keys=True)
    if not weights:
        return MissingVAE(name)
    shape = detect_autoencoder(weights, name)
    ddconfig = {
        "double_z": True,
        "resolution": 256,
        "in_channels": 3,
        "out_ch": 3,
        "attn_resolutions": [],
        "dropout": 0.0,
        "ch": shape.ch,
        "ch_mult": list(shape.ch_mult),
        "num_res_blocks": shape.num_res_blocks,
        "z_channels": shape.z_channels,
    }
    with torch.device("meta"):
        network = AutoencoderKL(ddconfig=ddconfig, embed_dim=shape.embed_dim)
    require_weights(network, weights, "", name)
    for key, value in weights.items():  # what is wrong in the denoiser is noticed in the guider, for all of it
        if value.is_floating_point() and not is_finite(value.float()):
            raise ValueError(
                f"{name}: {prefix + key} holds NaN, infinity or far too large values: the file is damaged, get another."
            )
    if shape == PUBLISHED_AUTOENCODER:
        return comfy.sd.VAE(sd=weights)
    return comfy.sd.VAE(sd=weights, config={"params": {"ddconfig": ddconfig, "embed_dim": shape.embed_dim}})
