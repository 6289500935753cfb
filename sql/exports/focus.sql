-- one row per row of cost_daily from $first_day to $last_day, both inclusive, with every column of FOCUS 1.2 in the order of its names
SELECT
    CAST(NULL AS VARCHAR) AS AvailabilityZone,
    cost AS BilledCost,
    account AS BillingAccountId,
    account AS BillingAccountName,
    'Account' AS BillingAccountType,
    currency AS BillingCurrency,
    period_end AS BillingPeriodEnd,
    period_start AS BillingPeriodStart,
    CAST(NULL AS VARCHAR) AS CapacityReservationId,
    CAST(NULL AS VARCHAR) AS CapacityReservationStatus,
    'Usage' AS ChargeCategory,
    CAST(NULL AS VARCHAR) AS ChargeClass,
    metric || ': ' || pricing_unit || CASE
        WHEN unit_price = 0 THEN ' included'
        WHEN tier_from > 0 THEN ' above ' || rtrim(rtrim(CAST(tier_from AS VARCHAR), '0'), '.')
        ELSE ''
    END AS ChargeDescription,
    'Usage-Based' AS ChargeFrequency,
    CAST(usage_date + 1 AS TIMESTAMP) AT TIME ZONE 'UTC' AS ChargePeriodEnd,
    -- A billing month that begins in the middle of a day has the whole day.
    greatest(CAST(usage_date - days_covered + 1 AS TIMESTAMP) AT TIME ZONE 'UTC', period_start) AS ChargePeriodStart,
    CAST(NULL AS VARCHAR) AS CommitmentDiscountCategory,
    CAST(NULL AS VARCHAR) AS CommitmentDiscountId,
    CAST(NULL AS VARCHAR) AS CommitmentDiscountName,
    CAST(NULL AS DECIMAL(38, 9)) AS CommitmentDiscountQuantity,
    CAST(NULL AS VARCHAR) AS CommitmentDiscountStatus,
    CAST(NULL AS VARCHAR) AS CommitmentDiscountType,
    CAST(NULL AS VARCHAR) AS CommitmentDiscountUnit,
    quantity AS ConsumedQuantity,
    unit AS ConsumedUnit,
    cost AS ContractedCost,
    unit_price AS ContractedUnitPrice,
    cost AS EffectiveCost,
    CAST(NULL AS VARCHAR) AS InvoiceId,
    provider AS InvoiceIssuerName,
    -- The price book holds what was agreed: of list prices nothing is known.
    cost AS ListCost,
    unit_price AS ListUnitPrice,
    'Standard' AS PricingCategory,
    currency AS PricingCurrency,
    unit_price AS PricingCurrencyContractedUnitPrice,
    cost AS PricingCurrencyEffectiveCost,
    unit_price AS PricingCurrencyListUnitPrice,
    pricing_quantity AS PricingQuantity,
    pricing_unit AS PricingUnit,
    provider AS ProviderName,
    provider AS PublisherName,
    CAST(NULL AS VARCHAR) AS RegionId,
    CAST(NULL AS VARCHAR) AS RegionName,
    CAST(NULL AS VARCHAR) AS ResourceId,
    CAST(NULL AS VARCHAR) AS ResourceName,
    CAST(NULL AS VARCHAR) AS ResourceType,
    category AS ServiceCategory,
    service AS ServiceName,
    subcategory AS ServiceSubcategory,
    sku AS SkuId,
    metric AS SkuMeter,
    CAST(NULL AS VARCHAR) AS SkuPriceDetails,
    sku || '/' || CAST(valid_from AS VARCHAR) || '/' || rtrim(rtrim(CAST(tier_from AS VARCHAR), '0'), '.') AS SkuPriceId,
    CAST(NULL AS VARCHAR) AS SubAccountId,
    CAST(NULL AS VARCHAR) AS SubAccountName,
    CAST(NULL AS VARCHAR) AS SubAccountType,
    -- The prefix tells the vendor's own tags from those that somebody sets.
    CAST(CASE WHEN len(map_keys(dimensions)) > 0 THEN to_json(map_from_entries(
        [(vendor || '/' || entry.key, entry.value) FOR entry IN map_entries(dimensions)]
    )) END AS VARCHAR) AS Tags
FROM cost_daily
JOIN services USING (vendor)
WHERE usage_date BETWEEN $first_day AND $last_day
ORDER BY usage_date, account, sku, series_id, tier_from;
