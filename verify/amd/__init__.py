"""AMD SEV-SNP."""
