#!/usr/bin/env bash
# Regenerates deepcopy functions and CRDs from the types below apis/.
set -euo pipefail
cd "$(dirname "$0")/.."
gen=$PWD/bin/controller-gen
header=$PWD/tools/header.txt
(cd apis/meta && "$gen" object:headerFile="$header" paths=./...)
(cd apis && "$gen" object:headerFile="$header" paths=./... crd output:crd:dir=../controllers/config/crd/bases)
(cd examples && "$gen" object:headerFile="$header" paths=./quickstart/v1/... && "$gen" crd paths=./quickstart/v1/... output:crd:dir=quickstart/config)
