module github.com/gitops-kit/sdk/apis/meta

go 1.26.6
