"""What operators see and do: who is connected, how it goes, disconnecting and draining.

Everything is found out when it is asked. Each process answers for itself (`desk`); whichever is
asked from outside asks the others as well (`processes`), and puts the answers together (`routes`).
"""
