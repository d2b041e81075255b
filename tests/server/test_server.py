"""The pack in a running ComfyUI, over HTTP and its websocket, as the browser and scripts use it."""

import asyncio
import contextlib
import copy
import json
import time
import urllib.error
import urllib.parse
import urllib.request

import aiohttp
import pytest

TEMPLATE = "Colorize-lineart-anime-manga"
BINARY_PREVIEWS = {1, 4}  # a preview picture, without and with metadata


@pytest.fixture
def prompt(tiny_prompt, workflows):
    return tiny_prompt(workflows[TEMPLATE])


@pytest.fixture
def node_of(prompt):
    """`node_of("Sampler")`: (id, node) of the prompt's only ColorizeDiffusion_Sampler."""

    def find(name: str) -> tuple[str, dict]:
        ((key, node),) = [(k, n) for k, n in prompt.items() if n["class_type"] == f"ColorizeDiffusion_{name}"]
        return key, node

    return find


def error_of(history: dict) -> dict:
    return next(data for event, data in history["status"]["messages"] if event == "execution_error")


def refusal(server, prompt) -> dict:
    """What ComfyUI answers to a prompt that it does not queue."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.queue(prompt)
    assert refused.value.code == 400
    return json.loads(refused.value.read())["node_errors"]


def executed(history: dict) -> set[str]:
    """Ids of the nodes that had to run, by the history's list of those that had not."""
    cached = next(data["nodes"] for event, data in history["status"]["messages"] if event == "execution_cached")
    return set(history["prompt"][2]) - set(cached)


def test_the_server_knows_the_nodes_and_logs_no_failure(server, object_info):
    ours = [name for name in object_info if name.startswith("ColorizeDiffusion_")]
    assert {"ColorizeDiffusion_LoadCheckpoint", "ColorizeDiffusion_Sampler"} <= set(ours)
    assert all(object_info[name]["python_module"] == "custom_nodes.colorize-diffusion" for name in ours)
    log = server.log.read_text()
    assert "IMPORT FAILED" not in log and "Error while calling comfy_entrypoint" not in log


def test_templates_are_offered_under_the_packs_name(server, workflows):
    assert set(server.request("/api/workflow_templates")["colorize-diffusion"]) == set(workflows)


def test_the_first_template_is_found_by_the_words_that_people_type(workflows):
    """The web UI searches in titles."""
    assert {"colorize", "lineart", "anime", "manga"} <= set(TEMPLATE.lower().split("-")) and TEMPLATE in workflows


def test_their_thumbnails_are_served(server, workflows):
    for title, path in workflows.items():
        if path.with_suffix(".jpg").exists():
            thumbnail = f"{server.url}/api/workflow_templates/colorize-diffusion/{urllib.parse.quote(title)}.jpg"
            assert urllib.request.urlopen(thumbnail).headers["Content-Type"] == "image/jpeg"


def test_every_node_has_a_help_page(server, object_info):
    for name in object_info:
        if name.startswith("ColorizeDiffusion_"):
            page = f"{server.url}/extensions/colorize-diffusion/docs/{name}.md"
            assert urllib.request.urlopen(page).status == 200


def test_a_prompt_gives_a_picture_of_the_sketchs_shape(server, prompt):
    history = server.wait(server.queue(prompt))
    assert history["status"]["completed"], error_of(history)["exception_message"]
    (picture,) = [image for output in history["outputs"].values() for image in output["images"]]
    url = f"{server.url}/view?filename={picture['filename']}&type={picture['type']}&subfolder={picture['subfolder']}"
    png = urllib.request.urlopen(url).read()
    width, height = (int.from_bytes(png[i : i + 4], "big") for i in (16, 20))
    assert abs(width / height - 90 / 64) < 0.03


def test_queueing_the_same_prompt_again_runs_nothing(server, prompt):
    server.wait(server.queue(prompt))
    assert executed(server.wait(server.queue(prompt))) == set()


def test_another_strength_runs_neither_the_loaders_nor_clip_again(server, prompt, node_of):
    server.wait(server.queue(prompt))
    node_of("EncodeSketch")[1]["inputs"]["strength"] = 0.5
    ran = executed(server.wait(server.queue(prompt)))
    assert node_of("EncodeSketch")[0] in ran and node_of("Sampler")[0] in ran
    assert not ran & {node_of(name)[0] for name in ("LoadCheckpoint", "LoadCLIP", "EncodeReference")}


def test_a_missing_file_and_a_value_out_of_range_are_refused_by_name(server, prompt, node_of):
    key, loader = node_of("LoadCheckpoint")
    loader["inputs"]["ckpt_name"] = "missing.safetensors"
    sampler_key, sampler = node_of("Sampler")
    sampler["inputs"]["steps"] = 0
    errors = refusal(server, prompt)
    (error,) = errors[key]["errors"]
    assert "missing.safetensors" in error["details"]
    (error,) = errors[sampler_key]["errors"]
    assert error["type"] == "value_smaller_than_min" and error["extra_info"]["input_name"] == "steps"


def test_the_wrong_file_is_an_error_that_says_what_it_is(server, prompt, node_of):
    key, loader = node_of("LoadCheckpoint")
    loader["inputs"]["ckpt_name"] = "plain-sd.safetensors"
    error = error_of(server.wait(server.queue(prompt)))
    assert error["node_id"] == key
    assert "has no sketch encoder" in error["exception_message"] and "Load Checkpoint" in error["exception_message"]


def test_a_file_without_a_vae_says_so_when_the_vae_is_used(server, prompt, node_of):
    node_of("LoadCheckpoint")[1]["inputs"]["ckpt_name"] = "no-vae.safetensors"
    error = error_of(server.wait(server.queue(prompt)))
    assert error["node_type"] == "VAEDecode" and "no-vae.safetensors holds no VAE" in error["exception_message"]


def test_interrupted_work_stops_and_can_be_queued_again(server, prompt, node_of):
    long = copy.deepcopy(prompt)
    long[node_of("Sampler")[0]]["inputs"] |= {"steps": 10000, "seed": 5}
    events = asyncio.run(events_of(server, long, lambda event, data: event == "progress"))
    assert "progress" in [event for event, _ in events]
    start = time.monotonic()
    server.request("/interrupt", {})
    history = server.wait(events[-1][1]["prompt_id"])
    assert "execution_interrupted" in [event for event, _ in history["status"]["messages"]]
    assert time.monotonic() - start < 10
    assert server.wait(server.queue(prompt))["status"]["completed"]


def test_the_sampler_shows_progress_and_previews(server, prompt, node_of):
    key, sampler = node_of("Sampler")
    sampler["inputs"] |= {"steps": 4, "seed": 6}
    events = asyncio.run(events_of(server, prompt, lambda event, data: event == "execution_success"))
    steps = [data["value"] for event, data in events if event == "progress" and data["node"] == key]
    assert steps[-1] == 4
    assert any(event in BINARY_PREVIEWS for event, _ in events)


async def events_of(server, prompt: dict, is_last) -> list[tuple]:
    """Queues a prompt as a browser does; gives (event, data) up to and with the first that `is_last`."""
    events = []
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        socket = await stack.enter_async_context(session.ws_connect(f"{server.url}/ws?clientId=test", max_msg_size=0))
        server.queue(prompt, client_id="test")
        while True:
            message = await socket.receive(timeout=120)
            if message.type == aiohttp.WSMsgType.BINARY:
                events.append((int.from_bytes(message.data[:4], "big"), message.data))
                continue
            event = json.loads(message.data)
            events.append((event["type"], event["data"]))
            assert event["type"] != "execution_error", event["data"]["exception_message"]
            if is_last(*events[-1]):
                return events
