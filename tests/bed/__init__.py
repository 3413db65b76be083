"""The test bed: throwaway Debian hosts that behave like production servers, on one machine.

Molecule, the demo, the end-to-end tests and the benchmarks all build their hosts here, so that what is
measured and tested is always the same real path: systemd, sshd, nftables and Docker, reached over SSH.
"""
