"""FastChat's own worker around a model that says one text: everything a controller sees of it is FastChat's."""
import argparse
import json
import time

import uvicorn

try:
    import fastchat.serve.base_model_worker as serve
except ImportError:  # before 0.2.31
    import fastchat.serve.model_worker as serve

TEXT = "A worker that nobody attested said this."


class ScriptedWorker(serve.BaseModelWorker):
    def generate_stream_gate(self, params):
        words = TEXT.split(" ")
        if "slowly" in params["prompt"]:
            words = words * 200
        for count in range(1, len(words) + 1):
            last = count == len(words)
            usage = {"prompt_tokens": 7, "completion_tokens": count, "total_tokens": 7 + count}
            frame = {"text": " ".join(words[:count]), "error_code": 0, "usage": usage, "finish_reason": "stop" if last else None}
            yield json.dumps(frame).encode() + b"\0"
            if "slowly" in params["prompt"]:
                time.sleep(0.05)

    def generate_gate(self, params):
        *_, last = self.generate_stream_gate(params)
        return json.loads(last[:-1].decode())

    def count_token(self, params):
        return {"count": len(params["prompt"].split()), "error_code": 0}


parser = argparse.ArgumentParser()
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--controller-address", required=True)
parser.add_argument("--model", required=True)
args = parser.parse_args()
args.limit_model_concurrency = 5
serve.args = args
address = f"http://localhost:{args.port}"
more = () if serve.__name__.endswith("model_worker") and not hasattr(serve, "acquire_worker_semaphore") else (5,)
serve.worker = ScriptedWorker(args.controller_address, address, "scripted", "/models/" + args.model, [args.model], *more)
serve.worker.context_len = 2048
serve.worker.init_heart_beat()
uvicorn.run(serve.app, host=args.host, port=args.port, log_level="warning")
