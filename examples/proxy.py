# Python's official OpenAI client through the verifying proxy: nothing in it but the base URL is Veritee's.
#   veritee proxy --upstream URL --policy FILE, then: python3 examples/proxy.py
import json
import os
import urllib.request

from openai import OpenAI

proxy = os.environ.get("VERITEE_PROXY", "http://127.0.0.1:8787")
client = OpenAI(base_url=f"{proxy}/v1", api_key=os.environ.get("VERITEE_API_KEY", "unused"))

# Where an answer cannot be proven, this raises instead of ending.
stream = client.chat.completions.create(
    model="veritee-demo",
    messages=[{"role": "user", "content": "What is remote attestation?"}],
    stream=True,
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="", flush=True)

with urllib.request.urlopen(f"{proxy}/proofs") as answer:
    proof = json.load(answer)["proofs"][0]
print(f"\n[{'SIMULATED ' if proof['simulated'] else ''}{proof['status']}: {proof['model']['name']}, weights {proof['model']['files'][0]['sha256']}]")
