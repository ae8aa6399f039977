# Everything that one does with this project; `make help` lists it.

SWIFT       ?= swift
PREFIX      ?= /usr/local
# The product is one static executable. The linker's warnings about name-service look-ups concern functions that swvmm never calls.
STATIC      := --static-swift-stdlib -Xswiftc -static-executable -Xlinker -s

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## Install what building and testing need from Debian
	@Tests/Lab/deps

.PHONY: deps-peers
deps-peers:
	@Tests/Lab/deps --peers

.PHONY: build
build: deps ## Build .build/release/swvmm
	@$(SWIFT) build -c release --product swvmm $(STATIC)

.PHONY: run
run: build ## Boot the quickstart guest and end at its shell
	@Tests/Lab/quickstart

.PHONY: test
test: deps ## Run every test that everybody runs
	@Tests/run test

.PHONY: test-boot
test-boot: deps ## Run the representative part of the boot tests alone
	@Tests/run test-boot

.PHONY: soak-boot
soak-boot: deps ## Run the complete boot matrix
	@Tests/run soak-boot

.PHONY: test-lifecycle
test-lifecycle: deps ## Run the representative cycles of sleep, snapshot and restore alone
	@Tests/run test-lifecycle

.PHONY: soak-lifecycle
soak-lifecycle: deps ## Run all cycles of sleep, snapshot and restore
	@Tests/run soak-lifecycle

.PHONY: test-jail
test-jail: deps-peers ## Run the representative tests of devices in jailed processes alone
	@Tests/run test-jail

.PHONY: soak-jail
soak-jail: deps-peers ## Run boots, cycles and kills with every device in a jailed process
	@Tests/run soak-jail

.PHONY: test-driver
test-driver: deps ## Run the representative tests of drivers and of vDPA alone
	@Tests/run test-driver

.PHONY: soak-driver
soak-driver: deps ## Run all of them
	@Tests/run soak-driver

.PHONY: fuzz
fuzz: deps ## Feed vhost-user with what a fuzzer thinks up, a minute for each part
	@Tests/Fuzz/run

.PHONY: soak
soak: soak-boot soak-lifecycle soak-jail soak-driver ## Run every long test

.PHONY: lab
lab: deps ## Open a shell in the lab
	@Tests/Lab/lab --interactive -- bash

.PHONY: bench
bench: build ## Measure swvmm beside its peers
	@Tests/Benchmarks/bench

.PHONY: lint
lint: ## Check the layout of the sources
	@$(SWIFT) format lint --strict --parallel --recursive Sources Tests Package.swift

.PHONY: format
format: ## Lay the sources out
	@$(SWIFT) format format --in-place --parallel --recursive Sources Tests Package.swift

.PHONY: install
install: build ## Install swvmm under PREFIX (/usr/local)
	@install -Dm755 .build/release/swvmm $(DESTDIR)$(PREFIX)/bin/swvmm

.PHONY: clean
clean: ## Remove what was built
	@rm -rf .build
