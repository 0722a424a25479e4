"""NVIDIA GPUs and switches: SPDM reports, chains, RIMs, revocation, NRAS tokens."""
