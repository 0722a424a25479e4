"""Intel TDX and SGX: quotes, PCK chains, collateral, TCB, DCAP appraisal."""
