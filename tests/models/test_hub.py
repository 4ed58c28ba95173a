"""A hub that cannot be reached is told within seconds, though its client would go on trying for half a minute."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

CODE = """
import json, time
from huggingface_hub import hf_hub_download
from visionkit.errors import ModelNotFoundError
from visionkit.models.hub import fetching_repository
start = time.perf_counter()
try:
    with fetching_repository("some:model", "owner/name"):
        hf_hub_download("owner/name", "model.safetensors")
except ModelNotFoundError as err:
    print(json.dumps([str(err), time.perf_counter() - start]))
"""


def test_without_a_network_and_without_an_offline_variable(tmp_path):
    variables = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_OFFLINE", "VISIONKIT_OFFLINE")}
    with socket.socket() as closed:  # bound, but nobody listens
        closed.bind(("127.0.0.1", 0))
        variables |= {"HF_ENDPOINT": f"http://127.0.0.1:{closed.getsockname()[1]}", "HF_HOME": str(tmp_path)}
        # a process of its own: the client reads its address once, at import
        done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env=variables)
    message, seconds = json.loads(done.stdout)
    assert message == (
        "some:model could not be fetched from Hugging Face, repository owner/name (ConnectError); "
        "fetch it ahead: hf download owner/name; or give a local folder"
    )
    assert seconds < 5
