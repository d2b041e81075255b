"""The text nodes with SD 2's text encoder, OpenCLIP ViT-H's in its real size, from the core's CLIPLoader."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

WIDTH, LAYERS, VOCABULARY, CONTEXT = 1024, 24, 49408, 77
FILE, TARGET = "open_clip_text_encoder.safetensors", "a girl with red hair"


def random_state_dict() -> dict[str, torch.Tensor]:
    """OpenCLIP's text tower in half precision; blocks and rows repeat, which takes less time to make."""
    torch.manual_seed(0)

    def linear(out, width):
        return torch.randn(out, width) * width**-0.5

    tower = {
        "token_embedding.weight": torch.randn(VOCABULARY // 32, WIDTH).repeat(32, 1),
        "positional_embedding": torch.randn(CONTEXT, WIDTH) * 0.1,
        "text_projection": linear(WIDTH, WIDTH),
    }
    block = {
        "attn.in_proj_weight": linear(3 * WIDTH, WIDTH),
        "attn.in_proj_bias": torch.zeros(3 * WIDTH),
        "attn.out_proj.weight": linear(WIDTH, WIDTH),
        "attn.out_proj.bias": torch.zeros(WIDTH),
        "mlp.c_fc.weight": linear(4 * WIDTH, WIDTH),
        "mlp.c_fc.bias": torch.zeros(4 * WIDTH),
        "mlp.c_proj.weight": linear(WIDTH, 4 * WIDTH),
        "mlp.c_proj.bias": torch.zeros(WIDTH),
    }
    for parts, name in ((block, "ln_1"), (block, "ln_2"), (tower, "ln_final")):
        parts |= {f"{name}.weight": torch.ones(WIDTH), f"{name}.bias": torch.zeros(WIDTH)}
    tower |= {f"transformer.resblocks.{k}.{name}": value for k in range(LAYERS) for name, value in block.items()}
    return {name: value.to(torch.float16, copy=True) for name, value in tower.items()}


@pytest.fixture(scope="module")
def clip(host, models_dir):
    from comfy.cli_args import args

    path = models_dir / "text_encoders" / FILE
    save_file(random_state_dict(), path)
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(args, "fp32_text_enc", False)  # half precision, as without that argument
        (clip,) = host.CLIPLoader().load_clip(FILE, "stable_diffusion")
    yield clip
    path.unlink()


@pytest.fixture(scope="module")
def feature(host, clip):
    """The target as the host's own text encode node gives it, after CLIP's last layer; of length 1."""
    with torch.inference_mode():
        (conditioning,) = host.CLIPTextEncode().encode(clip, TARGET)[0]
    return F.normalize(conditioning[1]["pooled_output"][0].float(), dim=-1)


@pytest.fixture
def tokens(pack):
    return pack.colorize_core.tokens.ReferenceTokens(torch.randn(1, 1, WIDTH), torch.randn(1, 256, WIDTH))


def test_a_global_edit_sets_the_correlation_with_the_text(node, clip, tokens, feature):
    edit = {"anchor": "", "scale": 5.0, "enhance": False, "text_layer": "last"}
    (edited,) = node("GlobalText").execute(tokens, clip, TARGET, **edit).result
    assert float(edited.cls[0, 0] @ feature) == pytest.approx(5.0, abs=0.02)


def test_a_local_edit_moves_the_tokens_along_the_text(node, clip, tokens, feature):
    edit = {"anchor": "", "control": "everything", "scale": 8.0, "enhance": False, "text_layer": "last"}
    thresholds = {"threshold_0": 0.5, "threshold_1": 0.55, "threshold_2": 0.65, "threshold_3": 0.95}
    edited, _ = node("LocalText").execute(tokens, clip, TARGET, **edit, **thresholds).result
    wanted = (8.0 - tokens.cls[0, 0] @ feature) * feature
    assert ((edited.local - tokens.local)[0] - wanted).norm(dim=-1).max() < 0.02 * wanted.norm()
