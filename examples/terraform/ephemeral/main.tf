# Palette's Terraform provider with an API key out of Vault, by way of Vault's provider.
# Terraform reads the key anew in each plan and each apply, and keeps it nowhere: what an
# ephemeral block reads goes into neither the state nor a plan.
#
#   export VAULT_ADDR=https://vault.example.com:8200   # and VAULT_TOKEN, or a login
#   terraform init
#   terraform apply -var project=Default
#
# Terraform 1.10 or newer, or OpenTofu 1.11, and hashicorp/vault 5.8, the first that has the
# ephemeral resource vault_generic_secret.

terraform {
  required_version = ">= 1.10"

  required_providers {
    spectrocloud = {
      source = "spectrocloud/spectrocloud"
    }
    vault = {
      source  = "hashicorp/vault"
      version = ">= 5.8"
    }
  }
}

variable "project" {
  description = "Name of the Palette project to work in."
  type        = string
}

variable "host" {
  description = "Palette's host, without https://."
  type        = string
  default     = "api.spectrocloud.com"
}

# The provider makes itself a child token that lives 20 minutes unless told otherwise, and
# the key's lease, which belongs to that token, ends with it: so this has to be longer than
# an apply takes. The token that it is made from needs "update" on auth/token/create, which
# policies/terraform.hcl allows.
provider "vault" {
  max_lease_ttl_seconds = 3600
}

ephemeral "vault_generic_secret" "palette" {
  path = "palette/creds/app-key"
}

# With an older Terraform, use the data source in place of the block above, and
# data.vault_generic_secret.palette.data["api_key"] below:
#
#   data "vault_generic_secret" "palette" {
#     path = "palette/creds/app-key"
#   }
#
# THE STATE THEN HOLDS THE KEY, in the clear, and so may a plan that is saved. It is dead when
# its lease has ended; up to then whoever reads the state has it. palette-key.sh is better.

provider "spectrocloud" {
  host         = var.host
  api_key      = ephemeral.vault_generic_secret.palette.data["api_key"]
  project_name = var.project
}

data "spectrocloud_project" "this" {
  name = var.project
}

output "project_uid" {
  value = data.spectrocloud_project.this.id
}
