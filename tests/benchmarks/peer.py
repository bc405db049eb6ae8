"""llama-server's engine through xllamacpp, as a server process: prints its address, ends with its stdin."""

from __future__ import annotations

import json
import sys


def main() -> None:
    import xllamacpp

    model, parallel, context, threads = sys.argv[1], *map(int, sys.argv[2:5])
    parameters = xllamacpp.CommonParams()
    parameters.model.path = model
    parameters.n_parallel = parallel
    parameters.n_ctx = context
    parameters.kv_unified = True
    parameters.n_batch = parameters.n_ubatch = 512
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    parameters.fit_params = False
    parameters.warmup = True
    parameters.port = 0
    server = xllamacpp.Server(parameters)
    print(json.dumps({"url": server.listening_address}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
