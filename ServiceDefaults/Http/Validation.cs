// The extension points of the framework's validation are still marked experimental. What is built on them stays in this file.
#pragma warning disable ASP0029

using System.Collections.Concurrent;
using System.ComponentModel.DataAnnotations;
using System.Diagnostics.CodeAnalysis;
using System.Reflection;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Validation;

namespace Platform.ServiceDefaults;

/// <summary>
/// Checks the attributes on request records before a handler runs. <c>AddValidation()</c> alone knows only types of the assembly that calls it, because it works by generated code;
/// the records here live in the services and in Contracts, so they are looked at when first seen.
/// </summary>
internal static class RequestValidation
{
    public static void AddRequestValidation(this IHostApplicationBuilder builder)
    {
        builder.Services.AddValidation();
        builder.Services.AddOptions<ValidationOptions>().Configure<IServiceProviderIsService>((options, services) => options.Resolvers.Add(new RecordTypes(services)));
    }

    private sealed class RecordTypes(IServiceProviderIsService services) : IValidatableInfoResolver
    {
        private readonly ConcurrentDictionary<Type, IValidatableInfo?> _types = new();

        public bool TryGetValidatableTypeInfo(Type type, [NotNullWhen(true)] out IValidatableInfo? validatableInfo) =>
            (validatableInfo = _types.GetOrAdd(type, Read)) is not null;

        // Attributes on parameters are the framework's own business.
        public bool TryGetValidatableParameterInfo(ParameterInfo parameterInfo, [NotNullWhen(true)] out IValidatableInfo? validatableInfo)
        {
            validatableInfo = null;
            return false;
        }

        private RecordType? Read(Type type)
        {
            // A handler's parameters are requests and dependencies; dependencies are not input.
            if (!IsRecord(type) || services.IsService(type))
            {
                return null;
            }

            var parameters = type.GetConstructors().OrderByDescending(constructor => constructor.GetParameters().Length).FirstOrDefault()?.GetParameters() ?? [];
            RecordProperty[] members = [.. type.GetProperties(BindingFlags.Public | BindingFlags.Instance)
                .Where(property => property.CanRead && property.GetIndexParameters().Length == 0)
                .Select(property => new RecordProperty(type, property, RulesOf(property, parameters)))
                .Where(property => property.HasRules || IsRecord(ElementOf(property.Type)))];
            return members.Length > 0 || type.IsAssignableTo(typeof(IValidatableObject)) ? new RecordType(type, members) : null;
        }

        // "record NewRule([Required] string Name)" puts the attribute on the constructor's parameter.
        private static ValidationAttribute[] RulesOf(PropertyInfo property, ParameterInfo[] parameters) =>
            [.. property.GetCustomAttributes<ValidationAttribute>(),
             .. parameters.Where(parameter => parameter.Name == property.Name && parameter.ParameterType == property.PropertyType).SelectMany(parameter => parameter.GetCustomAttributes<ValidationAttribute>())];

        private static bool IsRecord(Type type) =>
            !type.IsPrimitive && !type.IsEnum && !type.IsArray && !type.IsInterface && type.Namespace is { } name && name != "System"
            && !name.StartsWith("System.", StringComparison.Ordinal) && !name.StartsWith("Microsoft.", StringComparison.Ordinal);

        private static Type ElementOf(Type type) =>
            type.IsArray ? type.GetElementType()! : type.IsGenericType ? type.GetGenericArguments()[^1] : type;
    }

    private sealed class RecordType(Type type, IReadOnlyList<ValidatablePropertyInfo> members) : ValidatableTypeInfo(type, members)
    {
        private readonly ValidationAttribute[] _rules = [.. type.GetCustomAttributes<ValidationAttribute>(inherit: true)];

        protected override ValidationAttribute[] GetValidationAttributes() => _rules;
    }

    // Messages call the field what the wire calls it.
    private sealed class RecordProperty(Type declaring, PropertyInfo property, ValidationAttribute[] rules)
        : ValidatablePropertyInfo(declaring, property.PropertyType, property.Name, WireJson.Name(property.Name))
    {
        public bool HasRules => rules.Length > 0;

        public Type Type => property.PropertyType;

        protected override ValidationAttribute[] GetValidationAttributes() => rules;
    }
}
