{{- /* The list of commits in a section of CHANGELOG.md. Kinds that no user notices are left out, and
     the ids of commits, which a rebase changes. */ -}}
{{- define "kind" }}
{{- $pattern := .pattern }}{{ $lines := list }}
{{- range .changes }}
{{- $subject := .Note | splitList "\n" | first }}
{{- if regexMatch $pattern $subject }}
{{- $text := regexReplaceAll "^[a-z]+(\\([^)]*\\))?!?: *" $subject "" }}
{{- $breaking := or (regexMatch "^[a-z]+(\\([^)]*\\))?!:" $subject) (contains "\nBREAKING CHANGE: " .Note) }}
{{- $lines = append $lines (printf "- %s%s" (ternary "**breaking:** " "" $breaking) $text) }}
{{- end }}{{ end }}
{{- if $lines }}
{{ "\n" }}#### {{ .title }}

{{ join "\n" (reverse $lines) }}
{{- end }}{{ end }}
{{- $changes := (first .Entries).Changes }}
{{- template "kind" dict "changes" $changes "title" "Added" "pattern" "^feat(\\([^)]*\\))?!?:" }}
{{- template "kind" dict "changes" $changes "title" "Faster" "pattern" "^perf(\\([^)]*\\))?!?:" }}
{{- template "kind" dict "changes" $changes "title" "Changed" "pattern" "^(revert(\\([^)]*\\))?!?|(refactor|test|docs|build|ci|chore)(\\([^)]*\\))?!):" }}
{{- template "kind" dict "changes" $changes "title" "Fixed" "pattern" "^fix(\\([^)]*\\))?!?:" }}
