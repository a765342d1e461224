module github.com/gitops-kit/sdk/tools

go 1.26.6

require (
	go.yaml.in/yaml/v3 v3.0.5
	golang.org/x/mod v0.43.0
)
