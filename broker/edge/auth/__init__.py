"""Who may do what.

``rights`` what may be allowed · ``identity`` who asks, and what proves it · ``presented`` what a request shows · ``verifier`` how that is checked: ``api_keys``, ``tokens``
(JWTs), ``tickets``, ``forward`` (the operator's own endpoint) · ``guard`` decides, and gives a
``permit`` · ``gate`` stands before every route, and hands it the permit · ``standing`` ends streams
whose right has ended.
"""
