"""Presigned URLs that bind headers: the SDK signs the host alone.

AWS Signature Version 4, "Authenticating Requests: Using Query Parameters" of the Amazon S3 API reference.
"""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from urllib.parse import SplitResult, parse_qsl, quote, urlunsplit


def presigned(
    method: str,
    url: SplitResult,
    *,
    key: str,
    secret: str,
    region: str,
    expires: timedelta,
    headers: dict[str, str],
) -> str:
    """The URL with a signature that holds for requests with exactly these headers.

    Args:
        method: of the request.
        url: with its path and query encoded.
        key, secret, region: whose signature, and where it holds.
        expires: from now on.
        headers: by lower-case name; `host` is added.
    """
    at = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{at[:8]}/{region}/s3/aws4_request"
    bound = dict(sorted((headers | {"host": url.netloc}).items()))
    fields = dict(parse_qsl(url.query, keep_blank_values=True)) | {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{key}/{scope}",
        "X-Amz-Date": at,
        "X-Amz-Expires": str(int(expires.total_seconds())),
        "X-Amz-SignedHeaders": ";".join(bound),
    }
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(fields.items()))
    lines = [f"{name}:{value}" for name, value in bound.items()]
    request = "\n".join([method, url.path, query, *lines, "", ";".join(bound), "UNSIGNED-PAYLOAD"])
    text = "\n".join(["AWS4-HMAC-SHA256", at, scope, hashlib.sha256(request.encode()).hexdigest()])
    signing = f"AWS4{secret}".encode()
    for part in (at[:8], region, "s3", "aws4_request"):
        signing = hmac.new(signing, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(signing, text.encode(), hashlib.sha256).hexdigest()
    return urlunsplit(url._replace(query=f"{query}&X-Amz-Signature={signature}"))
