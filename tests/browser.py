"""A real browser, and a page of another origin that tries what it can against a server of the stack."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--virtual-time-budget=8000", "--dump-dom",
)  # fmt: skip
_ATTACK = """<!doctype html><title>attack</title><body><script>
document.currentScript.remove();
const target = TARGET, socket = target.replace('http', 'ws');
const log = (what, outcome) => document.body.append(document.createElement('p').appendChild(
    Object.assign(document.createElement('span'), {textContent: `[${what}: ${outcome}]`})));
const attempts = BODIES.flatMap(([path, body]) => [
  ['no-cors text', () => fetch(target + path, {method: 'POST', mode: 'no-cors', body})],
  ['no-cors without a type', () => fetch(target + path, {method: 'POST', mode: 'no-cors', body: new Blob([body])})],
  ['no-cors with credentials', () => fetch(target + path,
      {method: 'POST', mode: 'no-cors', credentials: 'include', body: new Blob([body])})],
  ['cors', () => fetch(target + path,
      {method: 'POST', headers: {'Content-Type': 'application/json'}, body}).then(answer => answer.text())],
  ['beacon', async () => navigator.sendBeacon(target + path, new Blob([body]))],
  ['form', () => new Promise(resolve => {
    const frame = Object.assign(document.createElement('iframe'), {name: 'f' + path, onload: resolve});
    const form = Object.assign(document.createElement('form'),
        {method: 'POST', enctype: 'text/plain', target: frame.name, action: target + path});
    form.append(Object.assign(document.createElement('input'), {name: body.slice(0, -1), value: body.slice(-1)}));
    document.body.append(frame, form); form.submit();
  })],
]).concat(PATHS.flatMap(path => [
  ['read', () => fetch(target + path).then(answer => answer.text()).then(text => 'READ ' + text)],
  ...['img', 'script', 'iframe'].map(kind => [kind, () => new Promise((resolve, reject) => {
    document.body.append(Object.assign(document.createElement(kind),
        {src: target + path, onload: () => resolve('loaded'), onerror: () => reject('refused')}));
  })]),
])).concat(SOCKETS.map(path => ['websocket', () => new Promise((resolve, reject) => {
  const line = new WebSocket(socket + path, ['prefect']);
  line.onopen = () => resolve('OPENED'); line.onerror = () => reject('refused');
})]));
(async () => {
  for (const [what, attempt] of attempts)
    await attempt().then(outcome => log(what, outcome), error => log(what, 'refused ' + error));
  document.body.append('[done]');
})();
</script>"""


@contextmanager
def attacking_page(
    target: str, *, bodies: list[tuple[str, str]], paths: list[str], sockets: list[str]
) -> Iterator[str]:
    """Serve a page that tries everything once, and ends with `[done]`; yields its address.

    Args:
        target: the server's origin.
        bodies: paths and what is posted to them, in every way that needs no leave of the server's.
        paths: what is read and embedded.
        sockets: WebSockets that are opened.
    """
    import json

    page = _ATTACK
    for name, value in (("TARGET", target), ("BODIES", bodies), ("PATHS", paths), ("SOCKETS", sockets)):
        page = page.replace(name, json.dumps(value), 1)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def visit(url: str, profile: Path, *options: str) -> str:
    """What a fresh browser shows of a page after its scripts have run, as HTML. Skips without a browser."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("neither chromium nor google-chrome is installed: nothing was tried from a page in a browser")
    command = [chromium, *_OPTIONS, f"--user-data-dir={profile}", *options, url]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False).stdout
