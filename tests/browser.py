"""A real browser, and a page of another origin that tries what it can against a server of the stack."""

import json
import os
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
_ATTACK = """<!doctype html><title>attack</title><body><script>
const target = TARGET, socket = target.replace('http', 'ws');
const outcomes = [], log = (what, outcome) => outcomes.push(`[${what}: ${outcome}]`);
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
  await fetch('/outcomes', {method: 'POST', body: outcomes.join('')});
})();
</script>"""


def attack_from_a_page(
    target: str,
    profile: Path,
    *,
    bodies: list[tuple[str, str]],
    paths: list[str],
    sockets: list[str],
    host: str = "localhost",
) -> str:
    """Open a page of another origin that tries everything once; returns how it went. Skips without a browser.

    Args:
        target: the server's origin.
        profile: an empty folder.
        bodies: paths and what is posted to them, in every way that needs no leave of the server's.
        paths: what is read and embedded.
        sockets: WebSockets that are opened.
        host: name under which the page is served: another site than 127.0.0.1's, or the same.
    """
    page = _ATTACK
    for name, value in (("TARGET", target), ("BODIES", bodies), ("PATHS", paths), ("SOCKETS", sockets)):
        page = page.replace(name, json.dumps(value), 1)
    outcomes: queue.Queue[str] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(page.encode() if self.path == "/" else b"")

        def do_POST(self) -> None:
            outcomes.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self._answer(b"")

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        with _browser(f"http://{host}:{server.server_port}/", profile):
            return outcomes.get(timeout=180)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def visit(url: str, profile: Path, *options: str) -> str:
    """The HTML that a fresh browser makes of a page. Skips without a browser."""
    command = [_chromium(), *_OPTIONS, f"--user-data-dir={profile}", "--dump-dom", *options, url]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False).stdout


@contextmanager
def _browser(url: str, profile: Path) -> Iterator[None]:
    command = [_chromium(), *_OPTIONS, f"--user-data-dir={profile}", "--remote-debugging-port=0", url]
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(browser.pid, signal.SIGKILL)
        browser.wait()


def _chromium() -> str:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("neither chromium nor google-chrome is installed: nothing was tried from a page in a browser")
    return found
