import comfy.samplers
from comfy_api.latest import io

from ..colorize_core.guidance import check_count, parse_factors, reference_strengths
from ..colorize_core.host.block_cache import with_block_cache
from ..colorize_core.host.colorize import colorize
from ..colorize_core.host.conditions import build_conditioning
from ..colorize_core.host.guider import build_guider
from ..colorize_core.host.model import require_colorize
from ..colorize_core.host.strength import with_reference_strength
from .sockets import CATEGORY, Sketch, Tokens

MAX_GUIDANCE = 30.0


def guidance_inputs():
    return [
        io.Float.Input(
            "reference_guidance",
            default=4.0,
            min=1.0,
            max=MAX_GUIDANCE,
            step=0.1,
            tooltip="How strongly the colors follow the reference. 1 is off and costs nothing.",
        ),
        io.Float.Input(
            "sketch_guidance",
            default=1.0,
            min=1.0,
            max=MAX_GUIDANCE,
            step=0.1,
            tooltip="How strongly the shapes follow the sketch. 1 is off and costs nothing.",
        ),
    ]


def interval_inputs():
    return [
        io.Float.Input(
            "start_percent",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.001,
            advanced=True,
            tooltip="Part of the run, from noise to picture, before which the reference is ignored.",
        ),
        io.Float.Input(
            "end_percent",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.001,
            advanced=True,
            tooltip="Part of the run, from noise to picture, after which the reference is ignored.",
        ),
    ]


class Conditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ColorizeDiffusion_Conditioning",
            display_name="Colorize Conditioning",
            category=CATEGORY,
            description="Joins reference and sketch into the conditioning that any sampler takes, "
            "with the two versions that guidance compares it with.",
            search_aliases=["apply reference", "apply sketch", "colorize positive negative"],
            inputs=[
                Tokens.Input("tokens", tooltip="The encoded reference: its colors and their meaning."),
                Sketch.Input("sketch", tooltip="The encoded sketch: the shapes to color."),
                *interval_inputs(),
            ],
            outputs=[
                io.Conditioning.Output("positive", tooltip="Reference and sketch."),
                io.Conditioning.Output("no_reference", tooltip="The sketch alone; the negative for a stock sampler."),
                io.Conditioning.Output("no_sketch", tooltip="The reference alone, on an empty sketch."),
            ],
        )

    @classmethod
    def execute(cls, tokens, sketch, start_percent=0.0, end_percent=1.0):
        return io.NodeOutput(*build_conditioning(tokens, sketch, start_percent, end_percent))


class ReferenceStrength(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        def level(name, blocks):
            return io.Float.Input(
                name,
                default=1.0,
                min=0.0,
                max=2.0,
                step=0.01,
                advanced=True,
                tooltip=f"Factor for {blocks}.",
            )

        return io.Schema(
            node_id="ColorizeDiffusion_ReferenceStrength",
            display_name="Reference Strength",
            category=CATEGORY,
            description="Scales how much the reference adds in each of the model's cross-attention blocks.",
            search_aliases=["reference fidelity", "cross attention scale"],
            inputs=[
                io.Model.Input("model", tooltip="A ColorizeDiffusion model."),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.01,
                    tooltip="For all blocks: 0 ignores the reference, 1 is as trained.",
                ),
                level("encoder", "the first blocks (0 and 1; XL: all; XL v2: 0-3)"),
                level("color", "the blocks that mostly decide on colors (2, 3, 10-12; XL: none)"),
                level("semantics", "the blocks that mostly decide on what things are (4, 5, 7-9; XL v2: 4-23, 34-63)"),
                io.String.Input(
                    "per_block",
                    default="",
                    advanced=True,
                    tooltip="A number for each block (16; XL: 70), in the order input, middle, output blocks, instead "
                    "of all of the above. Empty: not used.",
                ),
            ],
            outputs=[io.Model.Output("model", tooltip="The model with these strengths.")],
        )

    @classmethod
    def execute(cls, model, strength, encoder=1.0, color=1.0, semantics=1.0, per_block=""):
        layout = require_colorize(model).model.config.version.attention
        if per_block.strip():
            strengths = parse_factors(per_block, "per_block")
            check_count(strengths, layout.count, "per_block")
        else:
            strengths = reference_strengths(layout, strength, encoder, color, semantics)
        return io.NodeOutput(with_reference_strength(model, strengths))


class Guider(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ColorizeDiffusion_Guider",
            display_name="Colorize Guider",
            category=CATEGORY,
            description="Guides sampling by reference and sketch at once; for Sampler Custom Advanced.",
            search_aliases=["dual cfg", "dual guidance"],
            inputs=[
                io.Model.Input("model", tooltip="A ColorizeDiffusion model."),
                io.Conditioning.Input("positive", tooltip="Reference and sketch."),
                io.Conditioning.Input("no_reference", tooltip="What reference guidance leads away from."),
                io.Conditioning.Input("no_sketch", tooltip="What sketch guidance leads away from."),
                *guidance_inputs(),
            ],
            outputs=[io.Guider.Output("guider", tooltip="For Sampler Custom Advanced.")],
        )

    @classmethod
    def execute(cls, model, positive, no_reference, no_sketch, reference_guidance, sketch_guidance):
        guider = build_guider(model, positive, no_reference, no_sketch, reference_guidance, sketch_guidance)
        return io.NodeOutput(guider)


class Sampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ColorizeDiffusion_Sampler",
            display_name="Colorize",
            category=CATEGORY,
            description="Colors the sketch from the reference.",
            search_aliases=[
                *("colorize sketch", "color line art", "lineart", "colourise", "colorise", "coloring", "ksampler"),
                *("anime", "manga", "comic", "black and white", "grayscale", "style transfer", "palette"),
                *("上色", "着色", "塗り", "色塗り", "線画", "线稿", "線稿", "填色", "彩色"),
            ],
            inputs=[
                io.Model.Input("model", tooltip="A ColorizeDiffusion model."),
                Tokens.Input("tokens", tooltip="The encoded reference."),
                Sketch.Input("sketch", tooltip="The encoded sketch."),
                io.Latent.Input(
                    "latent",
                    tooltip="What to start from: the empty latent of Prepare Sketch, or a picture to change. "
                    "A noise mask limits the change.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Of the noise: the same seed gives the same picture.",
                ),
                io.Int.Input("steps", default=20, min=1, max=10000, tooltip="More steps take longer and add detail."),
                *guidance_inputs(),
                io.Combo.Input(
                    "sampler_name",
                    options=comfy.samplers.SAMPLER_NAMES,
                    default="dpmpp_2m",
                    tooltip="How the noise is taken away.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=comfy.samplers.SCHEDULER_NAMES,
                    default="karras",
                    tooltip="How the steps are spread over the noise levels.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How much of the latent is replaced: 1 starts from noise alone.",
                ),
                *interval_inputs(),
            ],
            outputs=[io.Latent.Output("latent", tooltip="The colored picture, for VAE Decode.")],
        )

    @classmethod
    def execute(
        cls,
        model,
        tokens,
        sketch,
        latent,
        seed,
        steps,
        reference_guidance,
        sketch_guidance,
        sampler_name,
        scheduler,
        denoise,
        start_percent=0.0,
        end_percent=1.0,
    ):
        settings = {"seed": seed, "steps": steps, "sampler_name": sampler_name, "scheduler": scheduler}
        guidance = {"reference_guidance": reference_guidance, "sketch_guidance": sketch_guidance}
        interval = {"denoise": denoise, "start_percent": start_percent, "end_percent": end_percent}
        return io.NodeOutput(colorize(model, tokens, sketch, latent, **settings, **guidance, **interval))


class BlockCache(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        def percent(name, default, tooltip):
            return io.Float.Input(name, default=default, min=0.0, max=1.0, step=0.001, tooltip=tooltip)

        return io.Schema(
            node_id="ColorizeDiffusion_BlockCache",
            display_name="Block Cache",
            category=CATEGORY,
            description="Nearly twice as fast: most of the model is computed at every second step only, since it "
            "changes little between them. Works with any sampler; not with TorchCompileModel.",
            search_aliases=["deepcache", "speed up", "faster", "accelerate"],
            is_experimental=True,
            inputs=[
                io.Model.Input("model", tooltip="A ColorizeDiffusion model. An earlier Block Cache is replaced."),
                io.Int.Input(
                    "interval",
                    default=2,
                    min=1,
                    max=5,
                    tooltip="Every how many steps all of the model is computed. 1 is off; 3 is faster than 2 and less "
                    "exact.",
                ),
                percent("start_percent", 0.1, "Part of the run, from noise to picture, before which all is computed."),
                percent("end_percent", 1.0, "Part of the run after which all is computed."),
            ],
            outputs=[io.Model.Output("model", tooltip="The faster model.")],
        )

    @classmethod
    def execute(cls, model, interval, start_percent, end_percent):
        return io.NodeOutput(with_block_cache(require_colorize(model), interval, start_percent, end_percent))


NODES = [Conditioning, ReferenceStrength, Guider, Sampler, BlockCache]
