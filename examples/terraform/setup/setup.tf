# Sets the engine up with Terraform's Vault provider: plugin, mount, config, rotation, roles
# and policies. It is what examples/setup.sh does with the CLI.
#
#   export VAULT_ADDR=https://vault.example.com:8200   # and VAULT_TOKEN, or a login
#   export TF_VAR_palette_password                     # set it without the shell's history
#   terraform apply -var set_password=true -var plugin_sha256=… -var plugin_version=v0.1.0 \
#     -var palette_email=vault@example.com -var palette_org=example
#
# Later runs are the same without set_password and the password.
#
# Terraform 1.11 or newer, or OpenTofu 1.11, and hashicorp/vault 5.9, the first that writes to an
# endpoint of any engine from an ephemeral block.

terraform {
  required_version = ">= 1.11"

  required_providers {
    vault = {
      source  = "hashicorp/vault"
      version = ">= 5.9"
    }
  }
}

provider "vault" {}

variable "plugin_sha256" {
  description = "Checksum of the plugin's binary, which lies in plugin_directory of each server."
  type        = string
}

variable "plugin_version" {
  description = "Version that the binary was built with, such as v0.1.0."
  type        = string
}

variable "palette_address" {
  description = "Palette's address."
  type        = string
  default     = "https://api.spectrocloud.com"
}

variable "palette_email" {
  description = "Palette user of the engine's own: its password is rotated, which locks out whoever else uses it."
  type        = string
}

variable "palette_org" {
  description = "Organization of that user."
  type        = string
}

variable "palette_ca_cert" {
  description = "Authority of a self-hosted Palette's certificate, in PEM. None: the Vault server's own authorities."
  type        = string
  default     = ""
}

variable "set_password" {
  description = "Whether this run writes address, email, org and password."
  type        = bool
  default     = false
}

# "ephemeral" keeps it out of the state and out of plans; "sensitive" out of what Terraform
# prints.
variable "palette_password" {
  description = "Password that the user has now. Only with set_password."
  type        = string
  default     = null
  sensitive   = true
  ephemeral   = true
}

resource "vault_plugin" "palette" {
  type    = "secret"
  name    = "vault-plugin-secrets-palette"
  command = "vault-plugin-secrets-palette"
  version = var.plugin_version
  sha256  = var.plugin_sha256
}

resource "vault_mount" "palette" {
  path           = "palette"
  type           = vault_plugin.palette.name
  plugin_version = vault_plugin.palette.version
}

# An ephemeral block is kept in neither the state nor a plan. IN A RESOURCE'S data_json THE STATE
# WOULD HOLD THE PASSWORD in the clear.
#
# Terraform writes such a block in each plan and each apply. After the rotation below the password is
# dead, and Palette would refuse it: hence set_password, for a run that brings a password that works.
ephemeral "vault_generic_endpoint" "config" {
  count = var.set_password ? 1 : 0
  path  = "${vault_mount.palette.id}/config" # the id, so that the mount is there first

  data_json = jsonencode({
    address  = var.palette_address
    email    = var.palette_email
    org      = var.palette_org
    password = var.palette_password
    ca_cert  = var.palette_ca_cert
  })
}

# A write changes only the fields that it names, so that what is no secret can stand for
# itself, be changed without the password, and be compared with what is there. In seconds, as
# a read returns them. Each change of it starts rotation_period anew.
resource "vault_generic_endpoint" "settings" {
  depends_on           = [ephemeral.vault_generic_endpoint.config]
  path                 = "${vault_mount.palette.path}/config"
  ignore_absent_fields = true

  data_json = jsonencode({
    rate_limit      = 10
    queue_timeout   = 55
    rotation_period = 2592000 # 30 days
  })
}

# Rotates once, when it is made: from then on nobody knows the password, and what the
# variable held is worth nothing.
resource "vault_generic_endpoint" "rotate" {
  depends_on     = [vault_generic_endpoint.settings]
  path           = "${vault_mount.palette.path}/rotate-root"
  disable_read   = true
  disable_delete = true
  data_json      = "{}"
}

# One role for each kind of client: see docs/how-to/choose-a-role.md.
locals {
  roles = {
    app       = { renewable = true, max_ttl = 86400 }
    app-agent = { renewable = false }
    app-fleet = { renewable = false, shared = true }
    app-key   = { credential_type = "api_key", ttl = 3600, max_ttl = 86400 }
  }
}

resource "vault_generic_endpoint" "role" {
  for_each             = local.roles
  depends_on           = [vault_generic_endpoint.settings]
  path                 = "${vault_mount.palette.path}/roles/${each.key}"
  ignore_absent_fields = true
  data_json            = jsonencode(each.value)
}

resource "vault_policy" "palette" {
  for_each = toset(["app", "agent", "fleet", "terraform", "operator", "metrics"])
  name     = "palette-${each.key}"
  policy   = file("${path.module}/../../policies/${each.key}.hcl")
}

# No output, and no data source on palette/creds: the state would hold what they read.
