"""What a check is: outcomes, reasons, pointers, catalogue, run, report. Knows no TEE."""
