"""Documents of AWS Nitro Enclaves: one signed CBOR structure with its whole chain inside."""
