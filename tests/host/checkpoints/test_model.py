"""What a checkpoint becomes: the host's MODEL, its ways of loading and saving, the VAE."""

import dataclasses
import json
import shutil

import pytest
import torch
from safetensors import safe_open

HEADS = "colorize_head_channels"


# What the model is


def empty_unet(core, config):
    """The UNet of a Config, without weights."""
    import comfy.ops

    build, arguments = core.host.versions.host_config(config).unet_class, core.host.unet.unet_arguments(config.unet)
    return build(**arguments, config=config, device="meta", operations=comfy.ops.disable_weight_init)


def test_what_a_file_must_hold_is_the_same_where_the_host_makes_weights_late(pack, golden_state_dict, monkeypatch):
    """With dynamic memory its Linear has none until the file is loaded."""
    import comfy.memory_management
    import comfy.ops

    core = pack.colorize_core
    config = core.versions.detect(golden_state_dict, "tiny")
    shapes = []
    for late in (False, True):
        monkeypatch.setattr(comfy.memory_management, "aimdo_enabled", late)
        unet = empty_unet(core, config)
        assert (unet.time_embed[0].weight is None) == late
        shapes.append({key: tuple(shape) for key, shape in core.host.load.weight_shapes(unet).items()})
    assert shapes[0] == shapes[1]
    published = core.checkpoint.keys.from_published_keys(golden_state_dict, config.version.parts)
    assert shapes[0] == {key: tuple(value.shape) for key, value in published.items()}


def test_the_host_detects_the_shape_that_we_do(pack, golden_state_dict):
    import comfy.model_detection

    core = pack.colorize_core
    prefix = core.checkpoint.keys.UNET_PREFIX
    theirs = comfy.model_detection.model_config_from_unet(golden_state_dict, prefix)
    ours = core.host.versions.host_config(core.versions.detect(golden_state_dict, "tiny"))
    assert isinstance(theirs, type(ours))
    theirs.get_model(dict(golden_state_dict), prefix)  # the width of a head is read off the file only then
    assert theirs.unet_config == ours.unet_config


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"channel_mult": (1, 2, 2, 2)},
        {"model_channels": 64, "context_dim": 96, "num_head_channels": 32},
        {"model_channels": 320, "context_dim": 1024, "num_head_channels": 64},
        {"use_linear_in_transformer": True},
        {"in_channels": 9, "transformer_depth_middle": 2},
    ],
)
def test_a_model_of_any_shape_is_recovered_from_its_state_dict(pack, golden_state_dict, changes):

    core = pack.colorize_core
    config = core.versions.detect(golden_state_dict, "tiny")
    config = dataclasses.replace(config, unet=dataclasses.replace(config.unet, **changes))
    published = core.checkpoint.writing.published_weights(config, empty_unet(core, config).state_dict())
    assert core.versions.detect(published, "tiny") == config


def test_a_foreign_model_with_a_control_encoder_of_its_own_is_left_alone(pack, golden_state_dict):
    core = pack.colorize_core
    config = core.host.unet.unet_arguments(core.versions.detect(golden_state_dict, "tiny").unet)
    changes = [{"num_res_blocks": [2, 2, 2]}, {"num_res_blocks": 2}, {"context_dim": None}, {"adm_in_channels": 2816}]
    matches = core.host.versions.v1.ColorizeV1.matches
    assert matches(config, golden_state_dict)
    for foreign in [{"image_model": "flux"}, *(config | change for change in changes)]:
        assert not matches(foreign, golden_state_dict), foreign


def test_prediction_goes_by_the_file_and_the_user_may_say(load, golden_state_dict):
    def kind(*args, **options):
        return load(golden_state_dict, *args, **options)[0].model.model_type.name

    assert kind("mine.safetensors") == "EPS"
    assert kind("mine-v.safetensors") == "V_PREDICTION"
    assert kind("mine-v.safetensors", prediction="eps") == "EPS"
    assert kind("mine.safetensors", prediction="v") == "V_PREDICTION"
    assert kind("mine.safetensors", {"colorize_diffusion_config": '{"prediction": "v"}'}) == "V_PREDICTION"


# The host's own ways of loading, saving and copying


def test_the_stock_checkpoint_loader_opens_our_files(core_node, tiny_checkpoint, tiny, predict):
    model = core_node("CheckpointLoaderSimple")(ckpt_name=tiny_checkpoint)[0]
    assert torch.equal(predict(model), predict(tiny))


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_a_saved_model_is_a_checkpoint_in_published_keys(
    open_file, checkpoints, tiny_checkpoint, golden_state_dict, predict, prediction, tmp_path
):
    import comfy_extras.nodes_model_merging as merging

    model = open_file(tiny_checkpoint, prediction=prediction)[0]
    merging.save_checkpoint(model, filename_prefix="saved", output_dir=str(tmp_path))
    (saved,) = tmp_path.glob("*.safetensors")
    with safe_open(saved, "pt") as file:
        assert set(file.keys()) - {"v_pred", "colorize_head_channels"} == golden_state_dict.keys()
    shutil.copy(saved, checkpoints / "saved.safetensors")
    again = open_file("saved.safetensors")[0]
    assert again.model.model_type == model.model.model_type
    assert torch.equal(predict(again), predict(model))


@pytest.mark.parametrize("metadata_alone", [True, False])
def test_heads_of_another_width_survive_the_hosts_loading_and_saving(
    load, open_file, core_node, checkpoints, golden, predict, metadata_alone, tmp_path
):
    """Where a file says it in its metadata alone, saving writes it among the weights, which the host keeps."""
    import comfy_extras.nodes_model_merging as merging

    half = golden.config["hd"] // 2
    told = {"colorize_diffusion_config": json.dumps({"num_head_channels": half})}
    weights = golden.checkpoint if metadata_alone else golden.checkpoint | {HEADS: torch.tensor([half, 0, 0])}
    ours, _ = load(weights, "narrow-heads.safetensors", told if metadata_alone else None)
    expected = predict(ours)
    assert not torch.allclose(expected, predict(load(golden.checkpoint, "wide-heads.safetensors")[0]), atol=1e-2)

    merging.save_checkpoint(ours, filename_prefix="saved", output_dir=str(tmp_path))
    (saved,) = tmp_path.glob("*.safetensors")
    shutil.copy(saved, checkpoints / "saved-narrow.safetensors")
    assert torch.equal(predict(open_file("saved-narrow.safetensors")[0]), expected)
    stock = core_node("CheckpointLoaderSimple")
    assert torch.equal(predict(stock(ckpt_name="saved-narrow.safetensors")[0]), expected)
    if not metadata_alone:
        assert torch.equal(predict(stock(ckpt_name="narrow-heads.safetensors")[0]), expected)


def test_the_host_can_load_it_afresh(load, golden_state_dict, tiny_vae_state_dict, predict):
    model, vae = load(golden_state_dict | tiny_vae_state_dict, "fresh.safetensors", prediction="v", token_type="cls")
    copy = model.clone(force_deepcopy=True)
    assert copy.model is not model.model
    assert (copy.model.model_type, copy.model.config.token_type) == (model.model.model_type, "cls")
    assert torch.equal(predict(copy), predict(model))
    factory, arguments = vae.patcher.cached_patcher_init
    weights, expected = factory(*arguments, disable_dynamic=True).model.state_dict(), vae.patcher.model.state_dict()
    assert all(torch.equal(weights[key], expected[key]) for key in expected)


def test_the_host_knows_of_a_model_that_is_loaded_right_onto_its_device(load, golden_state_dict, monkeypatch):
    import comfy.model_management as management

    known = []
    monkeypatch.setattr(management, "load_models_gpu", lambda models, force_full_load: known.extend(models))
    load(golden_state_dict, "offloaded.safetensors")
    assert not known
    monkeypatch.setattr(management, "unet_inital_load_device", lambda *_: torch.device("cpu", 0))  # not plain "cpu"
    assert known == [load(golden_state_dict, "direct.safetensors")[0]]


def test_loading_leaves_no_second_copy_of_the_weights(pack, golden_state_dict):
    state_dict = dict(golden_state_dict)
    pack.colorize_core.host.load.model_of(state_dict, {}, "tiny.safetensors")
    assert not state_dict


# The VAE


def test_a_file_without_a_vae_says_so_once_it_is_used(open_file, core_node, tiny_checkpoint, tmp_path):
    import comfy_extras.nodes_model_merging as merging

    model, vae = open_file(tiny_checkpoint)
    for use in (
        lambda: core_node("VAEDecode")(vae=vae, samples={"samples": torch.zeros(1, 4, 8, 8)}),
        lambda: core_node("VAEEncode")(vae=vae, pixels=torch.zeros(1, 64, 64, 3)),
        lambda: core_node("VAEDecodeTiled")(
            vae=vae, samples={"samples": torch.zeros(1, 4, 8, 8)}, tile_size=64, overlap=0
        ),
        lambda: core_node("VAESave")(vae=vae, filename_prefix="vae"),
        lambda: merging.save_checkpoint(model, vae=vae, filename_prefix="all", output_dir=str(tmp_path)),
    ):
        with pytest.raises(ValueError, match=r"tiny-eps\.safetensors holds no VAE"):
            use()


def test_a_vae_of_another_width_loads_by_its_shapes(load, core_node, golden_state_dict, tiny_vae_state_dict):
    _, vae = load(golden_state_dict | tiny_vae_state_dict, "with-vae.safetensors")
    latent = core_node("VAEEncode")(vae=vae, pixels=torch.rand(1, 64, 96, 3))[0]
    assert latent["samples"].shape == (1, 4, 8, 12)
    image = core_node("VAEDecode")(vae=vae, samples=latent)[0]
    assert image.shape == (1, 64, 96, 3) and image.isfinite().all()
    weights = vae.first_stage_model.state_dict()
    for key, value in tiny_vae_state_dict.items():
        assert torch.equal(weights[key.removeprefix("first_stage_model.")].float(), value.float())


@pytest.mark.parametrize("gone", ["post_quant_conv.weight", "decoder.norm_out.bias"])
def test_an_incomplete_vae_is_named(load, golden_state_dict, tiny_vae_state_dict, gone):
    cut = {key: value for key, value in tiny_vae_state_dict.items() if not key.endswith(gone)}
    with pytest.raises(ValueError, match=rf"cut-vae\.safetensors lacks .*{gone}"):
        load(golden_state_dict | cut, "cut-vae.safetensors")
