module github.com/gitops-kit/sdk/apis

go 1.26.6
