# For whoever may change how the engine reaches Palette, and whom it takes for Palette,
# without the password: after a rotation nobody knows that. It goes the new way, so whoever
# has this and controls what it leads to can read it. Give it for the hour that it takes.

path "palette/trust/*" {
  capabilities = ["update", "sudo"]
}

# See what there is, and whether the config works then.
path "palette/config/*" {
  capabilities = ["read", "list"]
}

path "palette/check/*" {
  capabilities = ["read"]
}
