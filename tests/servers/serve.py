"""llama.cpp's own HTTP server, from the wheel xllamacpp, on the loopback address: `serve.py FOLDER PORT`.

It serves the files that `make_tiny_gguf.py` wrote until its standard input closes, so it never outlives who started it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import xllamacpp

folder, port = Path(sys.argv[1]), int(sys.argv[2])
params = xllamacpp.CommonParams()
params.model.path = str(folder / "tiny.gguf")
params.mmproj.path = str(folder / "mmproj.gguf")
params.mmproj_use_gpu = False
params.n_ctx = 2048
params.n_parallel = 1
params.n_gpu_layers = 0
params.warmup = False
params.hostnames = ["127.0.0.1"]
params.port = port
params.cpuparams.n_threads = 1
params.fit_params = False
params.use_jinja = True  # else a schema is not enforced
server = xllamacpp.Server(params)
print("listening", server.listening_address, flush=True)
sys.stdin.read()
