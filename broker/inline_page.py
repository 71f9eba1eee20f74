"""Pages that are one file: a policy under which nothing runs but what is in it. Pure."""

import base64
import hashlib
import re

__all__ = ["content_security_policy"]


def content_security_policy(page: str) -> str:
    """A policy under which `page` runs its own inline script and style, and nothing else.

    Strings can't become markup either: the browser refuses `innerHTML` and its like.
    """
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hashes(page, 'script')}",
            f"style-src {_hashes(page, 'style')}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _hashes(page: str, element: str) -> str:
    contents = re.findall(rf"<{element}(?:\s[^>]*)?>(.*?)</{element}>", page, re.DOTALL)
    digests = (hashlib.sha256(content.encode()).digest() for content in contents)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
