"""Who may do what.

``rights`` what may be allowed · ``identity`` who asks, and what proves it · ``presented`` what a
request shows · ``verifier`` how that is checked: ``api_keys``, ``tokens`` (JWTs; ``bearer`` tells
the two apart, ``token_keys`` has the keys, ``claims`` what they allow), ``tickets``, ``forward``
(the operator's own endpoint) · ``guard`` decides, and gives a ``permit`` · ``gate`` stands before
every route, and hands it the permit · ``standing`` ends streams whose right has ended, ``revoked``
knows which have · ``own_runs`` what rests on whose run it is · ``origins`` whose pages may ask.
"""
