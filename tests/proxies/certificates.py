"""A certificate for the proxies, of an authority of the tests' own."""

from pathlib import Path

import trustme

from tests.proxies.programs import NAME, Certificate

__all__ = ["certificate_in"]


def certificate_in(directory: Path) -> Certificate:
    """A new one, in files there."""
    authority = trustme.CA()
    issued = authority.issue_cert(NAME)
    files = Certificate(
        *(directory / name for name in ("authority.pem", "chain.pem", "key.pem", "both.pem"))
    )
    authority.cert_pem.write_to_path(files.authority)
    for position, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(files.chain, append=position > 0)
    issued.private_key_pem.write_to_path(files.key)
    issued.private_key_and_cert_chain_pem.write_to_path(files.chain_and_key)
    return files
