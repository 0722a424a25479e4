"""What a check is: outcomes, reasons, pointers, the catalogue, the run, the report. Knows no TEE."""
