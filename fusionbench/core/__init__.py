"""What plugins and all other packages share: value types, interfaces, errors, registry. Loads no torch, no pandas."""
