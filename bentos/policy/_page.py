"""A page to try the policy by hand: one static file that asks for the token and calls nobody but this service."""

import base64
import hashlib

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
label { display: block; margin: .75rem 0 } input[type=text], input[type=password] { width: 100%; font: inherit }
pre { background: #f3f3f3; padding: 1rem; white-space: pre-wrap; overflow-wrap: anywhere }
"""

_SCRIPT = """
const form = document.querySelector("form"), answer = document.querySelector("pre"), token = form.elements.token;
token.value = sessionStorage.getItem("token") || "";
async function ask(path, options) {
  sessionStorage.setItem("token", token.value);
  answer.textContent = "...";
  try {
    const reply = await fetch(path, {...options, headers: {Authorization: "Bearer " + token.value}});
    answer.textContent = reply.status + "\\n" + await reply.text();
  } catch (error) {
    answer.textContent = String(error);
  }
}
form.addEventListener("submit", event => {
  event.preventDefault();
  const fields = new FormData(form);
  fields.delete("token");
  ask("act", {method: "POST", body: fields});
});
document.querySelector("#served").addEventListener("click", () => ask("policy", {}));
"""

PAGE = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Drover: the promoted policy</title>
<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>
<body><h1>The promoted policy</h1>
<p>The token is DROVER_SERVING_TOKEN, which <code>drover status</code> shows. It stays in this tab.</p>
<form><label>Token <input type="password" name="token" autocomplete="off" required></label>
<label>Camera frame, JPEG <input type="file" name="image" accept="image/jpeg" required></label>
<label>Instruction <input type="text" name="instruction" maxlength="512" required></label>
<label>Session <input type="text" name="session" value="page" pattern="[A-Za-z0-9._\\-]{{1,64}}" required></label>
<label><input type="checkbox" name="reset" value="true"> Begin an episode</label>
<button>Ask for an action</button> <button type="button" id="served">What is served</button></form>
<pre aria-live="polite"></pre><script>{_SCRIPT}</script></body></html>
"""


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src {_source(_SCRIPT)}; style-src {_source(_STYLE)}; connect-src 'self'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
