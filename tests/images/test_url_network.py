"""URLs in a network of its own with public addresses: real names, resolver and connections, and no privilege."""

import subprocess
import sys
import textwrap

import pytest

HOSTS = """\
127.0.0.1 localhost
93.184.216.34 public.example
169.254.169.254 metadata.example
10.0.0.1 private.example
93.184.216.34 mixed.example
10.0.0.1 mixed.example
"""
NETWORK = """
set -e
ip link set lo up
for address in 93.184.216.34 169.254.169.254 10.0.0.1; do ip addr add $address/32 dev lo; done
mount --bind "$1" /etc/hosts
shift
exec "$@"
"""
INSIDE = """
import collections, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import visionkit as vk
from visionkit.errors import FetchError

picture = open(sys.argv[1], "rb").read()
visits = collections.Counter()
at_once = most_at_once = 0
lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        global at_once, most_at_once
        with lock:
            visits[self.connection.getsockname()[0]] += 1
            at_once += 1
            most_at_once = max(most_at_once, at_once)
        time.sleep(0.1 if "slow" in self.path else 0)
        with lock:
            at_once -= 1
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", "http://" + self.path[4:])
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(picture)

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("0.0.0.0", 80), Handler)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()


def refused(url, **more):
    try:
        vk.load_image(url, **more)
    except FetchError as error:
        return str(error)
    raise AssertionError(f"{url} was loaded")


assert vk.load_image("http://public.example/cat.jpg").size == (451, 300)
assert vk.load_image("http://public.example/to/public.example/cat.jpg").size == (451, 300)
assert dict(visits) == {"93.184.216.34": 3}, visits

for name, kind in (("metadata", "cloud metadata"), ("private", "private"), ("mixed", "private")):
    assert kind in refused(f"http://{name}.example/cat.jpg")
    assert kind in refused(f"http://public.example/to/{name}.example/cat.jpg")
assert "loopback" in refused("http://localhost/cat.jpg")
assert "cloud metadata" in refused("http://metadata.example/cat.jpg", allow_private=True)
assert "cloud metadata" in refused("http://public.example/to/metadata.example/", allow_private=True)
assert dict(visits) == {"93.184.216.34": 7}, visits
assert vk.load_image("http://private.example/cat.jpg", allow_private=True).size == (451, 300)
assert visits["10.0.0.1"] == 1

visits.clear()
answers = vk.classify([f"http://public.example/slow{n}.jpg?key=secret" for n in range(8)])
assert [answer.source.split("?…")[0] for answer in answers] == [f"http://public.example/slow{n}.jpg" for n in range(8)]
assert {answer.label for answer in answers} == {"tiger cat"}, answers
assert dict(visits) == {"93.184.216.34": 8}, visits
assert most_at_once > 1, "the decoding threads fetch one after the other"

visits.clear()
found = vk.classify(["http://public.example/a.jpg", "http://metadata.example/b.jpg"], on_error="return")
assert isinstance(found[1], vk.Failure) and found[0].label == "tiger cat"
assert dict(visits) == {"93.184.216.34": 1}, visits
print("all as it should be")
"""


@pytest.mark.slow
def test_urls_over_a_network_with_public_addresses(tmp_path, cat):
    if subprocess.run(["unshare", "-rmn", "ip", "link"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody make a network of their own (unshare -rmn)")
    hosts, script = tmp_path / "hosts", tmp_path / "inside.py"
    hosts.write_text(HOSTS)
    script.write_text(textwrap.dedent(INSIDE))
    network = ["unshare", "-rmn", "sh", "-c", NETWORK, "network", str(hosts)]
    done = subprocess.run(
        [*network, sys.executable, str(script), str(cat)], capture_output=True, text=True, check=False
    )
    assert done.stdout == "all as it should be\n", done.stderr
