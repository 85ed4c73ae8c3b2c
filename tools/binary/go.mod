module vault-plugin-secrets-palette/tools/binary

go 1.26.0
