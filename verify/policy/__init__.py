"""What is acceptable: the closed YAML reader, the policy, shipped defaults."""
