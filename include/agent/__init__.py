"""The agent: the program on every machine that does what Airflow asks, one verb a call.

Standard library only, Python 3.9 or newer, run as root. ``bluegreen.agent_bundle`` packs this directory into
one zip. :mod:`agent.__main__` describes how it is called, :mod:`agent.protocol` what is asked and answered.
"""
