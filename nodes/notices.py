"""A sentence on a node itself, for what goes on all the same but is hardly meant: the log alone is read by few."""

import logging

from comfy_api.latest import io
from server import PromptServer

RESOLVED = "Resolved."
NOTICED: set[str] = set()  # ids of the nodes that show a sentence: the browser keeps it until another one comes


def notice(node: type[io.ComfyNode], text: str) -> None:
    """Shows `text` under the node's widgets, and says it in the log; an empty text takes back what was said."""
    key = node.hidden.unique_id if node.hidden else None
    if text:
        logging.warning("%s: %s", node.define_schema().display_name, text)
    elif key not in NOTICED:
        return
    if key and hasattr(PromptServer, "instance"):  # a script that runs a prompt has no server
        PromptServer.instance.send_progress_text(text or RESOLVED, key)
        NOTICED.add(key) if text else NOTICED.discard(key)
